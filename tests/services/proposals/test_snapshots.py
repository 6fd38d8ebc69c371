"""A snapshot replaces the one before it as a whole, and writes what changed only."""

import asyncio
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import Dataset, Instrument, MemberRole, Proposal
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import NotFoundError, UpstreamUnavailableError
from jupyterhub_daas.services.proposals.connectors.base import (
    InstrumentEntry,
    PersonEntry,
    ProposalEntry,
    Snapshot,
)
from jupyterhub_daas.services.proposals.listing import Listing
from jupyterhub_daas.services.proposals.snapshots import write_snapshot
from jupyterhub_daas.services.proposals.store import DirectoryStore
from jupyterhub_daas.services.proposals.tables import metadata
from tests.services.schema import differences

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
ID21 = Instrument(name="id21", title="ID21")


def person(username: str, *subjects: str) -> PersonEntry:
    return PersonEntry(
        person=Person(username=username, uid=5, gid=5),
        identities=tuple(Identity(issuer="i", subject=each) for each in subjects),
    )


def proposal(identifier: str, *usernames: str, **given: Any) -> ProposalEntry:
    given.setdefault("instruments", (ID21,))
    return ProposalEntry(
        proposal=Proposal(identifier=identifier, **{"title": "x", **given}),
        members=tuple((each, MemberRole.MEMBER) for each in usernames),
        datasets=(Dataset(pid="1", name="n", path="raw/a"),),
        folder=f"/data/{identifier}",
    )


FIRST = Snapshot(
    people=(person("ann", "a"), person("bob", "b"), person("cas")),
    instruments=(InstrumentEntry(instrument=ID21, scientists=("cas",)),),
    proposals=(proposal("P", "ann"), proposal("Q", "ann", "bob")),
)


@pytest.fixture
async def directory(engine: AsyncEngine) -> AsyncEngine:
    """A database with the service's tables, of each kind."""
    await upgrade(engine, "proposals")
    return engine


async def write(directory: AsyncEngine, snapshot: Snapshot) -> int:
    return await write_snapshot(directory, snapshot, fingerprint="f", read_at=NOW)


async def seen(directory: AsyncEngine, username: str) -> list[str]:
    page = await DirectoryStore(directory).proposals_of(username, Listing())
    assert page.total == len(page.items)
    return [each.identifier for each in page.items]


async def test_before_the_first_one_nobody_is_absent(directory: AsyncEngine) -> None:
    store = DirectoryStore(directory)
    for ask in (store.person("ann"), store.proposal("P", None), store.proposals_of("ann", Listing())):
        with pytest.raises(UpstreamUnavailableError):
            await ask
    assert await store.snapshot() is None


async def test_says_which_one_is_in_use(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    state = await DirectoryStore(directory).snapshot()
    assert state == ("f", NOW, 3, 1, 2)


async def test_the_same_once_more_changes_nothing(directory: AsyncEngine) -> None:
    assert await write(directory, FIRST) == 6
    assert await write(directory, FIRST) == 0


async def test_what_is_left_out_is_gone(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    second = replace(FIRST, people=FIRST.people[:1] + FIRST.people[2:], proposals=(proposal("P", "ann"),))
    assert await write(directory, second) == 2
    store = DirectoryStore(directory)
    for ask in (store.person("bob"), store.proposal("Q", None), store.proposals_of("bob", Listing())):
        with pytest.raises(NotFoundError):
            await ask
    assert await store.person_of(Identity(issuer="i", subject="b")) is None
    assert await seen(directory, "ann") == await seen(directory, "cas") == ["P"]


async def test_a_member_taken_off_sees_nothing_more(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    assert await write(directory, replace(FIRST, proposals=(proposal("P", "ann"), proposal("Q", "bob")))) == 1
    assert await seen(directory, "ann") == ["P"]
    assert await seen(directory, "bob") == ["Q"]


async def test_a_scientist_who_leaves_sees_nothing_more(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    assert await seen(directory, "cas") == ["P", "Q"]
    assert await write(directory, replace(FIRST, instruments=(InstrumentEntry(instrument=ID21),))) == 1
    assert await seen(directory, "cas") == []
    assert [each.username for each in (await DirectoryStore(directory).members("P", None)).items] == ["ann"]


async def test_a_proposal_that_moves_is_seen_from_there(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    id19 = Instrument(name="id19", title="ID19")
    instruments = (
        InstrumentEntry(instrument=ID21, scientists=("cas",)),
        InstrumentEntry(instrument=id19, scientists=("bob",)),
    )
    moved = proposal("P", "ann", instruments=(id19,))
    await write(directory, replace(FIRST, instruments=instruments, proposals=(moved, FIRST.proposals[1])))
    assert await seen(directory, "cas") == ["Q"]
    assert await seen(directory, "bob") == ["P", "Q"]


async def test_an_identity_can_move_to_another_person(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    await write(directory, replace(FIRST, people=(person("ann", "b"), person("bob", "a"), person("cas"))))
    store = DirectoryStore(directory)
    found = [await store.person_of(Identity(issuer="i", subject=each)) for each in ("a", "b")]
    assert [each and each.username for each in found] == ["bob", "ann"]


async def test_an_index_is_not_used_beyond_its_snapshot(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    store = DirectoryStore(directory)
    assert (await store.proposals_of("cas", Listing(limit=1))).total == 2
    later = datetime(2026, 5, 2, tzinfo=timezone.utc)
    more = replace(FIRST, proposals=(*FIRST.proposals, proposal("R")))
    await write_snapshot(directory, more, fingerprint="g", read_at=later)
    assert (await store.proposals_of("cas", Listing(limit=1))).total == 3


async def test_a_snapshot_that_fails_halfway_leaves_the_one_before(directory: AsyncEngine) -> None:
    await write(directory, FIRST)
    # No connector gives one identity to two: here it breaks the writing in its middle.
    broken = replace(FIRST, people=(person("eve", "e"), person("fay", "e")), proposals=())
    with pytest.raises(IntegrityError):
        await write(directory, broken)
    assert await seen(directory, "ann") == ["P", "Q"]
    assert (await DirectoryStore(directory).person("bob")).username == "bob"


async def test_readers_see_the_one_or_the_other(directory: AsyncEngine) -> None:
    """Each answer while two snapshots take turns is that of one of them."""
    other = replace(FIRST, proposals=tuple(proposal(f"N{number}", "ann") for number in range(40)))
    wanted = [["P", "Q"], [f"N{number}" for number in range(40)]]
    await write(directory, FIRST)
    done = asyncio.Event()
    answers: list[list[str]] = []

    async def read() -> None:
        store = DirectoryStore(directory)
        while not done.is_set():
            page = await store.proposals_of("ann", Listing(limit=100))
            answers.append([each.identifier for each in page.items])

    reader = asyncio.ensure_future(read())
    for _ in range(5):
        await write(directory, other)
        await write(directory, FIRST)
    done.set()
    await reader
    assert answers
    assert all(answer in wanted for answer in answers)


async def test_the_migration_makes_the_tables_as_the_code_knows_them(directory: AsyncEngine) -> None:
    assert await differences(directory, "proposals", metadata) == []


async def test_absent_and_forbidden_take_the_same_way(directory: AsyncEngine) -> None:
    """Both are found out by the same statements, so the time that it takes tells nothing."""
    await write(directory, FIRST)
    store = DirectoryStore(directory)
    await store.person("ann")
    statements: list[str] = []

    @event.listens_for(directory.sync_engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    async def way(identifier: str, viewer: str) -> list[str]:
        statements.clear()
        for ask in (
            store.proposal(identifier, viewer),
            store.members(identifier, viewer),
            store.datasets(identifier, viewer, words=(), offset=0, limit=20),
            store.folder_of(identifier, viewer),
        ):
            with pytest.raises(NotFoundError):
                await ask
        return list(statements)

    assert await way("P", "bob") == await way("NONE", "bob") == await way("P", "nobody")
    event.remove(directory.sync_engine, "before_cursor_execute", note)
