"""What lifecycle keeps of endings, on SQLite and on PostgreSQL."""

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.reconciliation import EndReason
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.services.lifecycle.models import RecordedEnding
from jupyterhub_daas.services.lifecycle.store import SHOWN, LifecycleStore
from jupyterhub_daas.services.lifecycle.tables import metadata
from tests.services.schema import differences

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
LONG_AGO = NOW - timedelta(days=3650)


def ending(number: int, *, person: str = "amara", reason: EndReason = EndReason.EXPIRED) -> RecordedEnding:
    return RecordedEnding(
        session_id=f"{number:016x}",
        person=person,
        session="brave-curie",
        reason=reason,
        at=NOW + timedelta(minutes=number),
    )


@pytest.fixture
async def store(engine: AsyncEngine) -> LifecycleStore:
    await upgrade(engine, "lifecycle")
    await upgrade(engine, "lifecycle")
    return LifecycleStore(engine)


async def test_migrations_make_the_tables_of_the_code(engine: AsyncEngine) -> None:
    assert await differences(engine, "lifecycle", metadata) != []
    await upgrade(engine, "lifecycle")
    assert await differences(engine, "lifecycle", metadata) == []


async def test_lists_a_persons_own_endings_the_latest_first(store: LifecycleStore) -> None:
    first, other, last = ending(1), ending(2, person="bruno"), ending(3, reason=EndReason.IDLE)
    for each in (first, other, last):
        await store.create_ending(each)
    assert await store.list_endings("amara", since=LONG_AGO) == (last, first)
    assert await store.list_endings("amara", since=last.at) == (last,)
    assert await store.list_endings("nobody", since=LONG_AGO) == ()


async def test_a_second_try_takes_the_place_of_the_first(store: LifecycleStore) -> None:
    await store.create_ending(ending(1))
    again = ending(1, reason=EndReason.BLOCKED)
    await store.create_ending(again)
    assert await store.list_endings("amara", since=LONG_AGO) == (again,)


async def test_forgets_what_did_not_come_about_and_what_is_old(store: LifecycleStore) -> None:
    for number in range(4):
        await store.create_ending(ending(number))
    await store.delete_ending(ending(3).session_id)
    await store.delete_older(ending(1).at)
    assert await store.list_endings("amara", since=LONG_AGO) == (ending(2), ending(1))


async def test_shows_no_more_than_a_page(store: LifecycleStore) -> None:
    for number in range(SHOWN + 3):
        await store.create_ending(ending(number))
    shown = await store.list_endings("amara", since=LONG_AGO)
    assert shown == tuple(ending(number) for number in reversed(range(3, SHOWN + 3)))
