"""A start on a machine of the bank: against one that has its machine made, same hub, cloud, image and size.

    python -m benchmarks.vm_bank [--starts 10] [--at-once 10] [--boot-seconds 20]

One hub, ours with all services, on the tests' own OpenStack, which is real but for its machines. Both
environments run the same small web server and are started in turn, so that what else the machine does falls
on both; what is timed is the way from the request to the session's page, through the proxy. The lab's
machines boot in no time, as no cloud's do: so a few are made, too, that take as long as a small machine of a
cloud takes until it has booted. Then many are asked for at once, for each of whom a machine waits: how many
got one of these, in which order, and for how long was the hub's loop ever busy with one thing. The cloud gets
what all others leave of the processor, as if it ran elsewhere. Most of the time goes by until the bank is
full again. Root's, as the lab is; traffic goes to loopback and the lab's own network only.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from benchmarks.measuring import median, report
from benchmarks.starting import PATIENCE, PERSON, TIMED_LOOP, Elsewhere, Starts, sentence, start_at_once
from jupyterhub_daas.core.bank import MachineState
from tests.spawners.banks import Bank
from tests.spawners.cloud_bank import CloudBank, cloud
from tests.spawners.portal import PROPOSAL
from tests.support.labs import Labs
from tests.support.waiting import wait_until

# How many starts are timed that wait for a machine to boot.
BOOTED = 3


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

    def end_all(self) -> None:
        """End all sessions at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.end, self.servers()))


def measure(bank: CloudBank, given: argparse.Namespace) -> dict[str, Any]:
    """Return what a start takes with the bank and without it, and what became of many at once."""
    banked, made = Openings(bank, "agent", given.at_once), Openings(bank, "made", given.at_once)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(given.starts + 1):
        times[0].append(banked.measure("brave-curie"))
        times[1].append(made.measure("calm-bohr"))
    with bank.booting(given.boot_seconds):
        booted = median([made.measure("calm-bohr") for _ in range(BOOTED)])
    # The first of each warms the hub up.
    own, peer = median(times[0][1:]), median(times[1][1:])
    banked.wait_full()
    claimed: list[float] = []

    def order_of(session_ids: Mapping[str, str]) -> list[float]:
        at = {each.session_id: each.claimed_at for each in bank.machines()}
        moments = [at[each] for each in session_ids.values() if each in at]
        claimed.extend(each.timestamp() for each in moments if each is not None)
        return claimed

    many = start_at_once(banked, given.at_once, order_of)
    load = [round(each, 1) for each in os.getloadavg()]
    banked.end_all()
    return {
        "bank_ms": own,
        "bank_longest_ms": round(max(times[0][1:]), 3),
        "made_ms": peer,
        "ratio": round(peer / own, 1),
        "boot_seconds": given.boot_seconds,
        "booted_ms": booted,
        "booted_ratio": round(booted / own, 1),
        **many,
        "from_the_bank": len(claimed),
        "load": load,
    }


def main() -> None:
    """Start and stop in turn with the bank and without it, then many at once, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--boot-seconds", type=float, default=20)
    given = parser.parse_args()
    rule = {"idle": given.at_once, "most": 3 * given.at_once, "per_minute": 1000}
    with (
        tempfile.TemporaryDirectory(prefix="daas-vm-bank-") as name,
        closing(Elsewhere()) as elsewhere,
        closing(Labs()) as labs,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        with elsewhere.inside():
            labs.up("openstack")
        # The tests' own compares hub and cloud every other second.
        with cloud(folder / "hub", labs, rule=rule, others=("made",), extra=TIMED_LOOP, lifecycle={}) as bank:
            found = measure(bank, given)
    report(
        "vm_bank",
        f"a start takes {found['bank_ms']:.0f} ms with the bank, {found['bank_longest_ms']:.0f} at most, and "
        f"{found['made_ms']:.0f} ms without it, {found['ratio']} times as long; where machines take "
        f"{given.boot_seconds:g} s to boot {found['booted_ms']:.0f} ms, {found['booted_ratio']} times. "
        f"{sentence(found)}, {found['from_the_bank']} have a machine of the bank",
        found,
    )


if __name__ == "__main__":
    main()
