"""Processes that hang: they take connections and answer nothing until they are let go."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process for a while."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def freeze(pid: int) -> None:
    """Freeze a process; return when each of its threads stands still, for the signal alone takes a moment."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(_stands_still(each) for each in Path(f"/proc/{pid}/task").iterdir()), 10)


def _stands_still(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
