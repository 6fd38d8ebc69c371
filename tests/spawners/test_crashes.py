"""The hub is killed at every step of a start and of a stop, and at random moments.

Afterwards sessions that ran run on, and hub, backend and quotas agree about every one of them.
"""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import pytest
import requests

from jupyterhub_daas.core.names import ADJECTIVES
from jupyterhub_daas.spawners.turnstile import AT_ONCE
from tests.spawners.halts import ENDING, HALTS, STARTING, halt, halted, names_of, wait_halted
from tests.spawners.portal import WANTED, Portal, small_settings
from tests.support.stack import Stack
from tests.support.waiting import wait_until

# Steps at which the hub has not yet begun anything that could come up by itself.
EARLY = ("before the gate", "after the gate", "before the reservation", "after the reservation")
LATE = [step for step in STARTING if step not in (*EARLY, "before the process")]


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose hub can be held at each step."""
    folder = tmp_path_factory.mktemp("crashes")
    stack = Stack(folder, settings=small_settings(), extra=HALTS.format(folder=str(folder)))
    try:
        yield Portal(stack.start())
    finally:
        stack.stop()


@pytest.fixture
def portal(crashing: Portal) -> Iterator[Portal]:
    """The portal without any session and any halt."""
    crashing.clean()
    yield crashing
    (crashing.stack.folder / "halts.json").unlink(missing_ok=True)


def crash(portal: Portal) -> None:
    """Kill the hub, forget the halts, and start it again."""
    portal.stack.kill_hub()
    (portal.stack.folder / "halts.json").unlink(missing_ok=True)
    portal.stack.start_hub()


def start(portal: Portal, name: str) -> None:
    """Start a session; the hub may be killed meanwhile."""
    with suppress(requests.RequestException):
        portal.start(name, WANTED)


def tokens(portal: Portal) -> set[str]:
    """Return whose API tokens the hub still takes, by the sessions' names."""
    known = portal.stack.admin("GET", "/users/amara/tokens").json()["api_tokens"]
    return {each["note"].split("/")[-2] for each in known if each["note"].startswith("Server at ")}


def test_a_hub_killed_at_any_step_of_a_start_leaves_all_in_order(portal: Portal) -> None:
    halts = names_of(STARTING)
    portal.start("witty-young")
    before = portal.family(portal.session_id("witty-young"))
    halt(portal.stack.folder, halts)
    with ThreadPoolExecutor(len(halts)) as pool:
        for name in halts:
            pool.submit(start, portal, name)
        wait_halted(portal.stack.folder, halts)
        begun = {halts[name]: portal.model(name)["state"]["session_id"] for name in halts}
        living = portal.living()
        portal.stack.kill_hub()
    assert {begun[step] for step in LATE} <= living
    crash(portal)
    wait_until(portal.is_settled, 60, what="hub, backend and quotas agree")
    # What ran runs on, and a session whose process was there comes up although nobody waited for it.
    assert portal.family(portal.session_id("witty-young")) == before
    ready = {halts[name]: name for name in halts if portal.model(name).get("ready")}
    assert set(ready) == set(LATE)
    for step, name in ready.items():
        assert portal.session_id(name) == begun[step]
        assert portal.run(name, "echo works") == "works\n"
    kept = {"witty-young", *ready.values()}
    wait_until(lambda: portal.names() == kept, 20, what="starts that came to nothing are forgotten")
    for name in ready.values():
        portal.stop(name)
    wait_until(portal.is_settled, 30)
    assert len(portal.living()) == 1
    assert tokens(portal) == {"witty-young"}


def test_starts_are_decided_a_few_at_a_time(portal: Portal) -> None:
    """So a whole class that starts at once keeps no question waiting until its time is over."""
    halts = names_of(["before the gate"] * (AT_ONCE + 4))
    folder = portal.stack.folder
    halt(folder, halts)

    def under_way() -> int:
        return sum(portal.model(name).get("pending") == "spawn" for name in halts)

    with ThreadPoolExecutor(len(halts)) as pool:
        for name in halts:
            pool.submit(start, portal, name)
        wait_until(lambda: under_way() == len(halts), 60, what="all were asked for")
        wait_until(lambda: len(halted(folder)) >= AT_ONCE, 60, what="some are decided")
        assert len(halted(folder)) == AT_ONCE
        portal.stack.kill_hub()
    crash(portal)
    wait_until(lambda: not portal.names(), 60, what="starts that came to nothing are forgotten")
    wait_until(portal.is_settled, 60, what="hub, backend and quotas agree")


def test_a_hub_killed_at_any_step_of_a_stop_leaves_all_in_order(portal: Portal) -> None:
    halts = names_of(ENDING)
    for name in halts:
        assert portal.start(name).status_code == 201
    halt(portal.stack.folder, halts)
    with ThreadPoolExecutor(len(halts)) as pool:
        for name in halts:
            pool.submit(portal.stack.admin, "DELETE", f"/users/amara/servers/{name}")
        wait_halted(portal.stack.folder, halts)
        portal.stack.kill_hub()
    crash(portal)
    wait_until(portal.is_settled, 60, what="hub, backend and quotas agree")
    for name, step in halts.items():
        # A stop that had not reached the session is as if it had not been asked for.
        assert bool(portal.model(name)["ready"]) == (step == "before the end")
    assert tokens(portal) == {name for name, step in halts.items() if step == "before the end"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hub_killed_at_a_random_moment_leaves_all_in_order(portal: Portal, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{adjective}-bohr" for adjective in ADJECTIVES[:6]]
    kept = f"{ADJECTIVES[6]}-bohr"
    portal.start(kept)
    before = portal.family(portal.session_id(kept))
    reached = chance.randrange(3, 25)

    killed = Event()

    def churn(name: str) -> None:
        with suppress(requests.RequestException):
            while not killed.is_set():
                portal.start(name, WANTED)
                portal.stack.admin("DELETE", f"/users/amara/servers/{name}")

    with ThreadPoolExecutor(len(names)) as pool:
        begun = portal.stack.log().count("Started session")
        running = [pool.submit(churn, name) for name in names]
        # By what the hub has done, not by the clock: this machine may be slow.
        wait_until(lambda: portal.stack.log().count("Started session") >= begun + reached, 60)
        portal.stack.kill_hub()
        killed.set()
        for each in running:
            each.result(60)
    crash(portal)
    wait_until(portal.is_settled, 60, what="hub, backend and quotas agree")
    assert portal.family(portal.session_id(kept)) == before
