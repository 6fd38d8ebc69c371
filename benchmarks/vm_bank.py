"""A start on a machine of the bank: against one that has its machine made, same hub, cloud, image and size.

    python -m benchmarks.vm_bank [--starts 10] [--at-once 10]

One hub, ours with all services, on the tests' own OpenStack, which is real but for its machines: these boot
in no time, so that a start without the bank is as quick as no cloud's. Both environments run the same small
web server and are started in turn, so that what else the machine does falls on both; what is timed is the way
from the request to the session's page, through the proxy. Then many are asked for at once, for each of whom
a machine waits: how many got one of these, in which order, and for how long was the hub's loop ever busy with
one thing. Root's, as the lab is; traffic goes to loopback and the lab's own network only.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from benchmarks.measuring import median, report
from benchmarks.starting import PATIENCE, PERSON, TIMED_LOOP, Starts, sentence, start_at_once
from jupyterhub_daas.core.bank import MachineState
from tests.spawners.banks import Bank
from tests.spawners.cloud_bank import cloud
from tests.spawners.portal import PROPOSAL
from tests.support.labs import Labs
from tests.support.waiting import wait_until


def wanted(environment: str) -> dict[str, Any]:
    """Return the body of a start."""
    return {"user_options": {"proposal": PROPOSAL, "environment": environment}}


class Openings(Starts):
    """Start sessions and open their pages, when so many machines wait."""

    def __init__(self, bank: Bank, environment: str, idle: int) -> None:
        super().__init__(bank.portal.stack, PERSON, wanted(environment))
        self._bank, self._idle = bank, idle

    def wait_full(self) -> None:
        """Wait until the bank has what it is to have, and nothing else is about."""

        def full() -> bool:
            return self._bank.of(MachineState.IDLE) == {each.machine_id for each in self._bank.machines()}

        wait_until(
            lambda: full() and len(self._bank.machines()) == self._idle, PATIENCE, what="the bank is full"
        )

    def measure(self, name: str) -> float:
        """Return how long it takes from the request to the page, in milliseconds."""
        self.wait_full()
        begin = time.perf_counter()
        self.begin(name)
        wait_until(lambda: name in self.ready(), PATIENCE, what=f"{name} is ready")
        url = f"{self.stack.url}/user/{PERSON}/{name}/"
        requests.get(url, allow_redirects=False, timeout=PATIENCE).raise_for_status()
        took = 1000 * (time.perf_counter() - begin)
        self.end(name)
        return took


def measure(bank: Bank, starts: int, at_once: int) -> tuple[float, float, dict[str, Any]]:
    """Return what a start takes with the bank and without it, and what became of many at once."""
    banked, made = Openings(bank, "agent", at_once), Openings(bank, "made", at_once)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(starts + 1):
        times[0].append(banked.measure("brave-curie"))
        times[1].append(made.measure("calm-bohr"))
    banked.wait_full()
    claims: list[float] = []

    def order_of(session_ids: Mapping[str, str]) -> list[float]:
        given = {each.session_id: each.claimed_at for each in bank.machines()}
        claimed = [given[each] for each in session_ids.values() if each in given]
        claims.extend(each.timestamp() for each in claimed if each is not None)
        return claims

    many = start_at_once(banked, at_once, order_of)
    # The first of each warms the hub up.
    return median(times[0][1:]), median(times[1][1:]), {**many, "from_the_bank": len(claims)}


def main() -> None:
    """Start and stop in turn with the bank and without it, then many at once, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=10)
    given = parser.parse_args()
    rule = {"idle": given.at_once, "most": 3 * given.at_once, "per_minute": 1000}
    with tempfile.TemporaryDirectory(prefix="daas-vm-bank-") as name, closing(Labs()) as labs:
        folder = Path(name)
        folder.chmod(0o755)
        # The tests' own compares hub and cloud every second.
        with cloud(folder / "hub", labs, rule=rule, others=("made",), extra=TIMED_LOOP, lifecycle={}) as bank:
            banked_ms, made_ms, many = measure(bank, given.starts, given.at_once)
    ratio = round(made_ms / banked_ms, 1)
    report(
        "vm_bank",
        f"a start takes {banked_ms:.0f} ms with the bank and {made_ms:.0f} ms without it, {ratio} times as "
        f"long. {sentence(many)}, {many['from_the_bank']} have a machine of the bank",
        {
            "bank_ms": banked_ms,
            "made_ms": made_ms,
            "ratio": ratio,
            **many,
            "load": [round(each, 1) for each in os.getloadavg()],
        },
    )


if __name__ == "__main__":
    main()
