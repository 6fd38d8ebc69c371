"""What the benchmarks of starts share: one that is timed, and many at once beside a timed loop."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import requests

from tests.support.stack import Stack
from tests.support.waiting import wait_until

PERSON = "amara"
WANTED = {"user_options": {"proposal": "20180301", "environment": "jupyter"}}
OURS, BARE = "brave-curie", "bare"
ADJECTIVES = ("brave", "calm", "kind", "wise", "merry")
SCIENTISTS = ("bohr", "born", "bragg", "curie", "dirac", "euler", "fermi", "gauss", "hahn", "hooke")
PATIENCE = 100.0
# As far apart as arrivals must be to have an order.
APART_SECONDS = 0.02

CONTROL_GROUPS = Path("/sys/fs/cgroup")

# Each thing that the loop does for long is noted, with seconds of the clock and of this thread's CPU: on a
# busy machine the first one also counts what other processes do.
TIMED_LOOP = """
import asyncio.events
import time

_run = asyncio.events.Handle._run


def _timed(handle):
    clock, cpu = time.perf_counter(), time.thread_time()
    _run(handle)
    took = time.perf_counter() - clock, time.thread_time() - cpu
    if took[0] > 0.02:
        with open(given["folder"] + "/blocks", "a") as file:
            file.write(json.dumps(took) + "\\n")


asyncio.events.Handle._run = _timed
"""


class Elsewhere:
    """A group of processes that shares what all others leave of the processor, as if it ran elsewhere.

    Niceness would not do: Linux is fair between sessions of processes first. Without root there is no group.
    """

    def __init__(self) -> None:
        v2 = CONTROL_GROUPS / "cgroup.procs"
        self._usual = v2 if v2.exists() else CONTROL_GROUPS / "cpu" / "cgroup.procs"
        self._weight = "cpu.weight" if v2.exists() else "cpu.shares"
        self._group = self._usual.parent / f"daas-elsewhere-{os.getpid()}"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have what is started meanwhile be in the group."""
        if os.geteuid() != 0:
            yield
            return
        self._group.mkdir()
        (self._group / self._weight).write_text("2")
        (self._group / self._usual.name).write_text(str(os.getpid()))
        try:
            yield
        finally:
            self._usual.write_text(str(os.getpid()))

    def close(self) -> None:
        """Remove the group, once nothing is in it."""
        with suppress(OSError):
            self._group.rmdir()


class Starts:
    """Start sessions of one hub."""

    def __init__(self, stack: Stack, person: str, body: Mapping[str, Any]) -> None:
        self.stack = stack
        self._api, self._person, self._body = f"{stack.api}/users/{person}", person, body
        self._headers = {"Authorization": f"token {stack.service_token}"}

    def begin(self, name: str) -> None:
        """Ask for a session."""
        url = f"{self._api}/servers/{name}"
        answer = requests.post(url, headers=self._headers, json=self._body, timeout=PATIENCE)
        if not answer.ok:
            raise RuntimeError(f"{name} is refused: {answer.text}")

    def servers(self) -> dict[str, Any]:
        """Return the hub's models of this person's sessions."""
        found: dict[str, Any] = requests.get(self._api, headers=self._headers, timeout=PATIENCE).json()
        return dict(found["servers"])

    def ready(self) -> frozenset[str]:
        """Return the names of the sessions that can be entered."""
        return frozenset(name for name, server in self.servers().items() if server["ready"])

    def pending(self) -> bool:
        """Tell whether anything is under way."""
        return any(server["pending"] for server in self.servers().values())

    def end(self, name: str) -> None:
        """End a session and wait until it has."""
        url = f"{self._api}/servers/{name}"
        requests.delete(url, headers=self._headers, timeout=PATIENCE).raise_for_status()
        wait_until(lambda: name not in self.servers(), PATIENCE, what=f"{name} has stopped")

    def measure(self, name: str) -> float:
        """Return how long a start takes, in milliseconds."""
        begin = time.perf_counter()
        self.begin(name)
        wait_until(lambda: name in self.ready(), PATIENCE, what=f"{name} is ready")
        took = 1000 * (time.perf_counter() - begin)
        self.end(name)
        return took


def measure_in_turn(own: Starts, peer: Starts, count: int) -> tuple[list[float], list[float]]:
    """Return how long so many starts take on one hub and on the other, in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        times[0].append(own.measure(OURS))
        times[1].append(peer.measure(BARE))
    return times


def start_at_once(
    starts: Starts, count: int, order_of: Callable[[Mapping[str, str]], list[float]]
) -> dict[str, float]:
    """Start many of a hub with TIMED_LOOP, and return what it took.

    `order_of` gets the session ids by name, in the order in which they were asked for, and returns a number
    for each that says when the backend was given it.
    """
    names = [f"{first}-{second}" for first in ADJECTIVES for second in SCIENTISTS][:count]
    blocks = starts.stack.folder / "blocks"
    blocks.write_text("[0, 0]\n")
    blocks.chmod(0o666)
    begin = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        begun = []
        for name in names:
            begun.append(pool.submit(starts.begin, name))
            time.sleep(APART_SECONDS)
    for refusal in filter(None, (each.exception() for each in begun)):
        print(refusal)
    wait_until(lambda: not starts.pending(), PATIENCE, what="nothing is under way")
    seconds = time.perf_counter() - begin
    servers = starts.servers()
    started = {name: servers[name]["state"]["session_id"] for name in names if name in starts.ready()}
    noted = [json.loads(line) for line in blocks.read_text().splitlines()]
    return {
        "at_once": count,
        "not_started": count - len(started),
        "seconds": round(seconds, 1),
        "out_of_order": sum(one > next_one for one, next_one in pairwise(order_of(started))),
        "longest_block_ms": round(1000 * max(clock for clock, _cpu in noted), 1),
        "longest_block_cpu_ms": round(1000 * max(cpu for _clock, cpu in noted), 1),
    }


def sentence(many: Mapping[str, object]) -> str:
    """Say what many starts at once took."""
    return (
        f"{many['at_once']} at once take {many['seconds']} s, {many['not_started']} are refused, "
        f"{many['out_of_order']} out of order, the loop busy for at most {many['longest_block_ms']} ms "
        f"({many['longest_block_cpu_ms']} of CPU)"
    )
