"""The bank is kept whatever dies on the way: no machine for two, none lost, none used twice.

The bank's real store on a real database, a cloud that fails as told, and a hub that is killed at each step.
"""

import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from jupyterhub_daas.core.bank import Banked, BankPlace, BankRule, MachineState, Tended
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import BackendUnavailableError, UpstreamUnavailableError
from jupyterhub_daas.services.bank.store import BankStore
from jupyterhub_daas.spawners.bank import BankKeeper, Condition
from tests.support.fake_cloud import FakeCloud

RULES = {"vm": BankRule(idle=2, most=6, per_minute=100, age_minutes=600, idle_minutes=300, build_minutes=10)}


class KilledError(BaseException):
    """The hub's process ends here."""


class Killer:
    """Kill whoever calls what it wraps, at one call, before or after that has its effect."""

    def __init__(self, thing: Any, deaths: "Deaths") -> None:
        self._thing, self._deaths = thing, deaths

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._thing, name)

        async def call(*given: Any) -> Any:
            self._deaths.step(f"before {name}")
            result = await function(*given)
            self._deaths.step(f"after {name}")
            return result

        return call


class Deaths:
    """Count steps; `at` is the one at which the hub is killed, none if it is 0."""

    def __init__(self) -> None:
        self.at = self.count = 0
        self.where = ""

    def step(self, where: str) -> None:
        """Be at a step."""
        self.count += 1
        if self.count == self.at:
            self.where = where
            raise KilledError


class StoredBank:
    """The bank's client, without HTTP in between."""

    def __init__(self, store: BankStore) -> None:
        self._store, self.away = store, False

    async def machines(self, hub: str) -> tuple[Banked, ...]:
        """Do as the client does."""
        self._check()
        return await self._store.list_machines(hub)

    async def tend(self, place: BankPlace) -> Tended:
        """Do as the client does."""
        self._check()
        return await self._store.tend(place)

    async def claim(self, place: BankPlace, session_id: str) -> Banked | None:
        """Do as the client does."""
        self._check()
        return (await self._store.claim(place, session_id)).machine

    async def ready(self, machine_id: str) -> None:
        """Do as the client does."""
        self._check()
        await self._store.ready(machine_id)

    async def end(self, machine_id: str) -> None:
        """Do as the client does."""
        self._check()
        await self._store.end(machine_id)

    async def forget(self, machine_id: str) -> None:
        """Do as the client does."""
        self._check()
        await self._store.forget(machine_id)

    def _check(self) -> None:
        if self.away:
            raise UpstreamUnavailableError("The bank does not answer.", service="bank")


class Hub:
    """A hub with a bank: its sessions, and whose machine each got."""

    def __init__(self, store: BankStore, clock: "Clock") -> None:
        self.hub_id = f"hub-{secrets.token_hex(4)}"
        self.store, self.clock = store, clock
        self.cloud, self.bank, self.deaths = FakeCloud(), StoredBank(store), Deaths()
        # Session -> its machine, as the hub's own database would have it; None before it has one.
        self.sessions: dict[str, str | None] = {}
        # Everybody who ever got a machine.
        self.given: dict[str, set[str]] = {}
        self.keeper = self.begin()

    def begin(self) -> BankKeeper:
        """Start the hub's process, again if it was killed."""
        self.deaths.at = self.deaths.count = 0
        self.keeper = BankKeeper(
            hub_id=self.hub_id,
            profiles=["vm"],
            bank=Killer(self.bank, self.deaths),
            cloud=Killer(self.cloud, self.deaths),
            sessions=lambda: list(self.sessions),
        )
        return self.keeper

    async def start(self) -> str | None:
        """Start a session; return its machine."""
        session_id = secrets.token_hex(8)
        self.sessions[session_id] = None
        machine_id = await self.keeper.claim("vm", session_id)
        if machine_id is not None:
            self.given.setdefault(machine_id, set()).add(session_id)
            self.deaths.step("before the session has its machine")
            self.sessions[session_id] = machine_id
        return machine_id

    async def stop(self, session_id: str) -> None:
        """End a session."""
        machine_id = self.sessions.pop(session_id)
        if machine_id is not None:
            await self.keeper.release(machine_id)

    async def settle(self) -> None:
        """Let the hub's process go on for some rounds, in a cloud that works."""
        self.cloud.away, self.cloud.refuses, self.bank.away = False, 0, False
        self.begin()
        # A start that was interrupted is over: its session never came about.
        self.sessions = {session: machine for session, machine in self.sessions.items() if machine}
        for _ in range(4):
            await self.keeper.round()
            self.cloud.boot_for_test()

    async def check(self) -> None:
        """Check what has to hold whatever happened."""
        records = {each.machine_id: each for each in await self.store.list_machines(self.hub_id)}
        assert set(self.cloud.there) == set(records), "nothing is lost on either side"
        states = [each.state for each in records.values()]
        assert states.count(MachineState.IDLE) == 2
        claimed = {
            each.session_id: each.machine_id
            for each in records.values()
            if each.state is MachineState.CLAIMED
        }
        assert claimed == self.sessions, "each session has its machine, and nobody else has one"
        assert len(records) == 2 + len(claimed)
        assert all(len(sessions) == 1 for sessions in self.given.values()), "none was given to two"
        idle = {each.machine_id for each in records.values() if each.state is MachineState.IDLE}
        assert not idle & set(self.given), "none comes back"
        assert all(number <= 1 for number in self.cloud.made.values()), "none was made twice"
        assert {self.cloud.images[each] for each in idle} == {self.cloud.image}


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
async def bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callable[[], Hub]]:
    """One database for hubs that share nothing else."""
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('bank') / 'bank.sqlite'}")
    await upgrade(engine, "bank")

    def new() -> Hub:
        clock = Clock()
        return Hub(BankStore(engine, RULES, clock), clock)

    yield new
    await engine.dispose()


@pytest.fixture
async def hub(bank: Callable[[], Hub]) -> Hub:
    """A hub whose bank is full."""
    made = bank()
    await made.settle()
    await made.check()
    return made


async def scenario(hub: Hub) -> None:
    """Do once what a hub does with its bank."""
    (session_id,) = hub.sessions
    assert await hub.start()
    await hub.keeper.round()
    hub.cloud.boot_for_test()
    await hub.keeper.round()
    await hub.stop(session_id)
    hub.cloud.image = "sha256:2"
    await hub.keeper.round()


async def test_a_hub_killed_at_any_step_leaves_all_in_order(bank: Callable[[], Hub]) -> None:
    seen = set()
    step, over = 0, False
    while not over:
        step += 1
        hub = bank()
        await hub.settle()
        await hub.start()
        hub.begin()
        hub.deaths.at = step
        try:
            await scenario(hub)
            over = True
        except KilledError:
            seen.add(hub.deaths.where)
        await hub.settle()
        await hub.check()
    # Every call was one at which it died.
    calls = ("image_of", "machines", "make", "remove", "claim", "tend", "ready", "end", "forget")
    assert seen == {"before the session has its machine"} | {
        f"{when} {call}" for when in ("before", "after") for call in calls
    }


def trouble(hub: Hub, chance: random.Random) -> None:
    """Have something go wrong, or time go by."""
    # Only with machines that nobody has: the session of another would be over, too.
    free = sorted(set(hub.cloud.there) - set(hub.given))
    what = chance.choice(["fails", "vanishes", "time"])
    if what == "time":
        hub.cloud.away, hub.bank.away = chance.random() < 0.3, chance.random() < 0.3
        hub.cloud.refuses = chance.randrange(3)
        hub.cloud.image = f"sha256:{chance.randrange(3)}"
        hub.clock.now += timedelta(minutes=chance.choice([1, 20, 700]))
    elif free and what == "fails":
        hub.cloud.there[free[0]] = Condition.FAILED
    elif free:
        del hub.cloud.there[free[0]]
        # It may be asked for again under its id: nobody had it yet.
        hub.cloud.made[free[0]] = 0


async def happen(hub: Hub, chance: random.Random) -> None:
    """Have one thing happen; what can't be done now is left to the rounds."""
    what = chance.choice(["start", "start", "stop", "trouble", "round", "round"])
    with suppress(UpstreamUnavailableError, BackendUnavailableError):
        if what == "start":
            await hub.start()
        elif what == "stop" and hub.sessions:
            await hub.stop(chance.choice(list(hub.sessions)))
        elif what == "trouble":
            trouble(hub, chance)
        elif what == "round":
            hub.cloud.boot_for_test()
            await hub.keeper.round()


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_all_is_in_order_afterwards(hub: Hub, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        if chance.random() < 0.2:
            hub.deaths.at = hub.deaths.count + chance.randrange(1, 12)
        try:
            await happen(hub, chance)
        except KilledError:
            hub.sessions = {session: machine for session, machine in hub.sessions.items() if machine}
            hub.begin()
    # What ends makes room for what is made, in the next rounds.
    await hub.settle()
    await hub.settle()
    await hub.check()


async def test_a_machine_that_is_not_good_is_replaced(hub: Hub) -> None:
    before = set(hub.cloud.there)
    failed, vanished = sorted(before)
    hub.cloud.there[failed] = Condition.FAILED
    del hub.cloud.there[vanished]
    await hub.settle()
    await hub.check()
    assert not before & set(hub.cloud.there)
    before = set(hub.cloud.there)
    hub.cloud.image = "sha256:2"
    assert await hub.start() is None
    await hub.settle()
    await hub.check()
    assert not before & set(hub.cloud.there)


async def test_a_bank_or_a_cloud_that_is_away_fails_no_start(hub: Hub) -> None:
    hub.bank.away = True
    assert await hub.start() is None
    hub.bank.away, hub.cloud.away = False, True
    assert await hub.start() is None
    await hub.settle()
    await hub.check()


async def test_one_machine_that_cannot_be_made_keeps_no_other_from_it(hub: Hub) -> None:
    for _ in range(2):
        assert await hub.start()
    hub.cloud.refuses = 1
    await hub.keeper.round()
    hub.cloud.boot_for_test()
    await hub.keeper.round()
    states = [each.state for each in await hub.store.list_machines(hub.hub_id)]
    assert states.count(MachineState.IDLE) == 1
    await hub.settle()
    await hub.check()


async def test_leaves_the_machines_of_another_hub_alone(bank: Callable[[], Hub]) -> None:
    first, second = bank(), bank()
    for each in (first, second):
        await each.settle()
    await first.start()
    await second.keeper.round()
    await first.settle()
    for each in (first, second):
        await each.check()
