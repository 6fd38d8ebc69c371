"""The bank's store, on both kinds of database: no machine for two, no more machines than the rule allows."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.bank import Banked, BankPlace, BankRule, MachineState
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConflictError, NotFoundError, UnknownProfileError
from jupyterhub_daas.services.bank.store import BankStore
from jupyterhub_daas.services.bank.tables import metadata
from tests.services.schema import differences

RULES = {
    "vm": BankRule(idle=3, most=5, per_minute=100, age_minutes=600, idle_minutes=300, build_minutes=10),
    "few": BankRule(idle=3, per_minute=1),
}
PLACE = BankPlace(hub="first", profile="vm", image="sha256:new")


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
async def migrated(engine: AsyncEngine) -> AsyncEngine:
    """A database with the bank's tables."""
    await upgrade(engine, "bank")
    return engine


@pytest.fixture
def store(migrated: AsyncEngine, clock: Clock) -> BankStore:
    """An empty bank."""
    return BankStore(migrated, RULES, clock)


@pytest.fixture
async def second(migrated: AsyncEngine, clock: Clock) -> AsyncIterator[BankStore]:
    """The same bank as another process has it, with connections of its own."""
    made = create_engine(migrated.url.render_as_string(hide_password=False))
    yield BankStore(made, RULES, clock)
    await made.dispose()


def new_id() -> str:
    """Return a session's id."""
    return secrets.token_hex(8)


async def fill(store: BankStore, place: BankPlace = PLACE) -> list[str]:
    """Have the bank's machines made and up; return their ids."""
    made = (await store.tend(place)).made
    for each in made:
        await store.ready(each.machine_id)
    return [each.machine_id for each in made]


async def states(store: BankStore, hub: str = "first") -> Counter[str]:
    """Return how many machines are in which state."""
    return Counter(each.state.value for each in await store.list_machines(hub))


async def test_the_migrations_make_the_declared_tables(migrated: AsyncEngine) -> None:
    assert await differences(migrated, "bank", metadata) == []


async def test_two_hubs_that_claim_at_once_get_two_machines(store: BankStore, second: BankStore) -> None:
    ids = await fill(store)
    sessions = [new_id() for _ in range(10)]
    claims = await asyncio.gather(
        *((store, second)[number % 2].claim(PLACE, session) for number, session in enumerate(sessions))
    )
    given = [each.machine for each in claims if each.machine is not None]
    assert sorted(each.machine_id for each in given) == sorted(ids)
    assert {each.session_id for each in given} <= set(sessions)
    assert sum(each.machine is None for each in claims) == 7
    recorded = {each.machine_id: each.session_id for each in await store.list_machines("first")}
    assert recorded == {each.machine_id: each.session_id for each in given}


async def test_a_session_that_asks_again_has_the_same_machine(store: BankStore, second: BankStore) -> None:
    await fill(store)
    session = new_id()
    claims = await asyncio.gather(*(each.claim(PLACE, session) for each in (store, second, store, second)))
    assert len({each.machine.machine_id for each in claims if each.machine}) == 1
    assert sum(each.fresh for each in claims) == 1
    assert await states(store) == {"claimed": 1, "idle": 2}


async def test_two_hubs_of_one_name_that_tend_at_once_make_no_more(
    store: BankStore, second: BankStore
) -> None:
    tended = await asyncio.gather(*(each.tend(PLACE) for each in (store, second) * 4))
    assert sum(len(each.made) for each in tended) == 3
    assert await states(store) == {"building": 3}


async def test_the_threshold_is_kept(store: BankStore) -> None:
    await fill(store)
    for number in range(6):
        assert (await store.claim(PLACE, new_id())).machine is not None
        await fill(store)
        assert await states(store) == {"claimed": number + 1, "idle": 3}


async def test_no_more_are_made_in_a_minute_than_allowed(store: BankStore, clock: Clock) -> None:
    place = PLACE.model_copy(update={"profile": "few"})
    for number in range(1, 4):
        assert len((await store.tend(place)).made) == 1
        assert len((await store.tend(place)).made) == 0
        assert len(await store.list_machines("first")) == number
        clock.go_on(minutes=1)
    assert len((await store.tend(place)).made) == 0


Spoil = Callable[[Clock, BankPlace], BankPlace]


def _age(clock: Clock, place: BankPlace) -> BankPlace:
    clock.go_on(minutes=601)
    return place


def _wait(clock: Clock, place: BankPlace) -> BankPlace:
    clock.go_on(minutes=301)
    return place


def _new_image(clock: Clock, place: BankPlace) -> BankPlace:
    clock.go_on(minutes=2)
    return place.model_copy(update={"image": "sha256:newer"})


@pytest.mark.parametrize("spoil", [_age, _wait, _new_image])
async def test_what_is_not_good_is_given_to_nobody_and_replaced(
    store: BankStore, clock: Clock, spoil: Spoil
) -> None:
    ids = await fill(store)
    place = spoil(clock, PLACE)
    assert (await store.claim(place, new_id())).machine is None
    tended = await store.tend(place)
    assert sorted(tended.ended) == sorted(ids)
    # What ends still costs: there are never more than five.
    assert len(tended.made) == 2
    for each in ids:
        await store.forget(each)
    assert len((await store.tend(place)).made) == 1
    assert all(each.image == place.image for each in await store.list_machines("first"))


async def test_a_machine_is_nobodys_once_it_ends(store: BankStore) -> None:
    ids = await fill(store)
    for each in ids[:2]:
        assert (await store.end(each)).state is MachineState.ENDING
        # It was up after all: too late.
        assert (await store.ready(each)).state is MachineState.ENDING
    claims = [await store.claim(PLACE, new_id()) for _ in range(3)]
    assert [each.machine and each.machine.machine_id for each in claims] == [ids[2], None, None]


async def test_a_machine_is_used_once(store: BankStore) -> None:
    await fill(store)
    session = new_id()
    machine = (await store.claim(PLACE, session)).machine
    assert machine is not None
    assert (await store.ready(machine.machine_id)).state is MachineState.CLAIMED
    with pytest.raises(ConflictError):
        await store.forget(machine.machine_id)
    await store.end(machine.machine_id)
    again = (await store.claim(PLACE, new_id())).machine
    assert again is not None
    assert again.machine_id != machine.machine_id
    await store.forget(machine.machine_id)
    await store.forget(machine.machine_id)
    assert machine.machine_id not in {each.machine_id for each in await store.list_machines("first")}


async def test_hubs_that_share_a_database_have_machines_of_their_own(store: BankStore) -> None:
    other = PLACE.model_copy(update={"hub": "second"})
    mine, theirs = await fill(store), await fill(store, other)
    assert {each.machine_id for each in await store.list_machines("first")} == set(mine)
    for _ in range(4):
        claim = await store.claim(other, new_id())
        assert claim.machine is None or claim.machine.machine_id in theirs
    assert await states(store) == {"idle": 3}
    assert len(await store.list_all()) == 6


async def test_refuses_what_it_does_not_know(store: BankStore) -> None:
    unknown = PLACE.model_copy(update={"profile": "unknown"})
    with pytest.raises(UnknownProfileError):
        await store.tend(unknown)
    with pytest.raises(UnknownProfileError):
        await store.claim(unknown, new_id())
    for change in (store.ready, store.end):
        with pytest.raises(NotFoundError):
            await change("0" * 16)
    await store.forget("0" * 16)
    assert await store.list_machines("nobody") == ()


async def test_moments_are_kept(store: BankStore, clock: Clock) -> None:
    (first, *_) = (await store.tend(PLACE)).made
    made = clock.now
    clock.go_on(minutes=2)
    await store.ready(first.machine_id)
    up = clock.now
    clock.go_on(minutes=5)
    machine = (await store.claim(PLACE, new_id())).machine
    assert isinstance(machine, Banked)
    assert (machine.made_at, machine.idle_at, machine.claimed_at) == (made, up, clock.now)
