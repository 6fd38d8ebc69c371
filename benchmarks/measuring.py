"""What the benchmarks share: the CPU of a process, medians, and one way to print."""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far, user and system together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def milliseconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    begin = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begin)


def median(values: list[float]) -> float:
    """Return the median, with the digits that mean something."""
    return round(statistics.median(values), 3)


def report(name: str, sentence: str, figures: dict[str, Any]) -> None:
    """Print the figures as JSON and one line for a person."""
    print(json.dumps({"benchmark": name, **figures}))
    print(f"{name}: {sentence}")
