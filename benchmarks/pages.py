"""The proposals page against ``/hub/home``, in one run, for a small and a large facility.

    python -m benchmarks.pages [--large-people 20000] [--large-proposals 100000]

Prints the hub's CPU per page, the latency of our page over that of the home page, and how both grow from
20 registered people to 20 000 with 100 000 proposals. Traffic goes to loopback only.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import requests
import yaml

from benchmarks.measuring import cpu_seconds, median, milliseconds, report
from tests.support.stack import DEMO, Stack
from tests.support.waiting import wait_until

PERSON = "amara"
PAGES = 300
BATCH = 200
LOAD_SECONDS = 900.0


def _directory(folder: Path, people: int, proposals: int) -> None:
    """Write the demo's facility directory, filled up with people and proposals."""
    content: dict[str, Any] = yaml.safe_load((folder / "facility.yaml").read_text())
    names = [f"person{number:06d}" for number in range(people)]
    for number, name in enumerate(names):
        content["people"].setdefault(
            name, {"display_name": f"Person {number}", "uid": 30_000 + number, "gid": 30_000 + number}
        )
    for number in range(proposals - len(content["proposals"])):
        identifier = f"9{number:07d}"
        content["proposals"][identifier] = {
            "title": f"Fluorescence of sample {number}",
            "abstract": "Trace elements in a series of samples, mapped with a focused beam. " * 4,
            "instruments": ["id21"],
            "state": "finished",
            "folder": identifier,
            "members": {names[number % people]: "principal_investigator"},
        }
    with (folder / "facility.yaml").open("w") as file:
        yaml.dump(content, file, Dumper=yaml.CSafeDumper, sort_keys=False)


def _register(stack: Stack, people: int) -> None:
    for begin in range(0, people, BATCH):
        usernames = [f"person{number:06d}" for number in range(begin, min(people, begin + BATCH))]
        stack.admin("POST", "/users", json={"usernames": usernames}).raise_for_status()


def _ready(stack: Stack, proposals: int) -> bool:
    """Tell whether the directory is loaded whole."""
    last = f"9{proposals - 40:07d}"
    return stack.call("proposals", "GET", f"proposals/{last}").status_code == 200


def _pages(session: requests.Session, stack: Stack, url: str) -> dict[str, float]:
    def fetch() -> None:
        answer = session.get(url, timeout=60)
        if answer.status_code != 200 or answer.url.split("?")[0] != url:
            raise RuntimeError(f"{url} answered {answer.status_code} at {answer.url}")

    for _ in range(10):
        fetch()
    before = cpu_seconds(stack.hub_pid())
    times = [milliseconds(fetch) for _ in range(PAGES)]
    spent = cpu_seconds(stack.hub_pid()) - before
    return {"latency_ms": median(times), "hub_cpu_ms": round(1000 * spent / PAGES, 3)}


def measure(people: int, proposals: int) -> dict[str, dict[str, float]]:
    """Measure both pages at a facility of this size."""
    with tempfile.TemporaryDirectory(prefix="daas-pages-") as folder:
        stack = Stack(Path(folder))
        if proposals:
            _directory(stack.folder, people, proposals)
        try:
            stack.start()
            if proposals:
                wait_until(lambda: _ready(stack, proposals), LOAD_SECONDS, what="the directory is loaded")
            _register(stack, people)
            stack.accept_conditions(PERSON)
            session = stack.login(PERSON)
            return {
                "home": _pages(session, stack, f"{stack.url}/hub/home"),
                "proposals": _pages(session, stack, f"{stack.url}/services/portal/proposals"),
            }
        finally:
            stack.stop()


def main() -> None:
    """Measure a small and a large facility and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large-people", type=int, default=20_000)
    parser.add_argument("--large-proposals", type=int, default=100_000)
    given = parser.parse_args()
    small = measure(20, 0)
    large = measure(given.large_people, given.large_proposals)
    ratio = round(large["proposals"]["latency_ms"] / large["home"]["latency_ms"], 2)
    growth = round(large["proposals"]["latency_ms"] / small["proposals"]["latency_ms"], 2)
    report(
        "pages",
        f"the proposals page costs the hub {large['proposals']['hub_cpu_ms']} ms of CPU "
        f"(/hub/home: {large['home']['hub_cpu_ms']} ms); latency {large['proposals']['latency_ms']} ms, "
        f"{ratio} x /hub/home; {growth} x from small to large",
        {"small": small, "large": large, "latency_ratio": ratio, "growth": growth, "pages": PAGES},
    )


if __name__ == "__main__":
    if not DEMO.is_dir():
        raise SystemExit("Run this from a checkout: it needs the demo's files.")
    main()
