"""What accounts keeps, on SQLite and on PostgreSQL."""

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.audit import Author
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.services.accounts.models import MAX_FAVOURITES, RoleRequest
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.accounts.tables import blocks, metadata
from tests.services.schema import differences

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def later(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


@pytest.fixture
async def store(engine: AsyncEngine) -> AccountsStore:
    await upgrade(engine, "accounts")
    return AccountsStore(engine)


async def test_migrations_make_the_tables_of_the_code(engine: AsyncEngine) -> None:
    assert len(await differences(engine, "accounts", metadata)) > 4
    await upgrade(engine, "accounts")
    await upgrade(engine, "accounts")
    assert await differences(engine, "accounts", metadata) == []


async def test_a_person_nobody_wrote_of_has_neither_block_nor_acceptance(store: AccountsStore) -> None:
    assert await store.read_standing("amara", "1") == (None, None, ())
    assert await store.list_acceptances("amara") == ()
    assert await store.list_favourites("amara") == ()
    assert await store.read_preferences("amara") == {}


async def test_acceptances_are_kept_by_version_with_their_first_time(store: AccountsStore) -> None:
    await store.accept("amara", "1", now=NOW)
    await store.accept("amara", "1", now=later(5))
    await store.accept("bruno", "2", now=later(6))
    assert (await store.read_standing("amara", "1"))[1] == NOW
    assert (await store.read_standing("amara", "2"))[1] is None
    await store.accept("amara", "2", now=later(10))
    history = [(each.version, each.accepted_at) for each in await store.list_acceptances("amara")]
    assert history == [("2", later(10)), ("1", NOW)]


async def test_moments_keep_their_instant(store: AccountsStore) -> None:
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    await store.accept("amara", "1", now=NOW.astimezone(elsewhere))
    accepted = (await store.read_standing("amara", "1"))[1]
    assert accepted == NOW
    assert accepted is not None
    assert accepted.utcoffset() == timedelta(0)


async def test_favourites_keep_their_order_and_owner(store: AccountsStore) -> None:
    for minute, identifier in enumerate(("20190417", "20180301", "A-1")):
        await store.add_favourite("amara", identifier, now=later(minute))
    await store.add_favourite("amara", "20190417", now=later(9))
    await store.add_favourite("bruno", "B-1", now=NOW)
    assert await store.list_favourites("amara") == ("20190417", "20180301", "A-1")
    await store.remove_favourite("amara", "20180301")
    await store.remove_favourite("amara", "20180301")
    await store.remove_favourite("amara", "B-1")
    assert await store.list_favourites("amara") == ("20190417", "A-1")
    assert await store.list_favourites("bruno") == ("B-1",)


async def test_refuses_favourites_beyond_the_limit_even_at_once(store: AccountsStore) -> None:
    for number in range(MAX_FAVOURITES - 5):
        await store.add_favourite("amara", f"P-{number}", now=NOW)
    tries = (store.add_favourite("amara", f"Q-{number}", now=NOW) for number in range(20))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert outcomes.count(None) == 5
    assert all(isinstance(each, ConflictError) for each in outcomes if each is not None)
    assert len(await store.list_favourites("amara")) == MAX_FAVOURITES
    await store.add_favourite("amara", "P-1", now=NOW)
    await store.add_favourite("bruno", "P-1", now=NOW)


async def test_preferences_are_replaced_whole_even_at_once(store: AccountsStore) -> None:
    await store.replace_preferences("amara", {"theme": "dark", "keyboard": "de"})
    await store.replace_preferences("bruno", {"theme": "light"})
    await asyncio.gather(
        *(store.replace_preferences("amara", {"theme": "dark", f"n{number}": "x"}) for number in range(10))
    )
    kept = await store.read_preferences("amara")
    assert len(kept) == 2
    assert kept["theme"] == "dark"
    await store.replace_preferences("amara", {})
    assert await store.read_preferences("amara") == {}
    assert await store.read_preferences("bruno") == {"theme": "light"}


async def test_a_block_holds_until_it_is_ended_and_stays_in_the_history(
    store: AccountsStore, engine: AsyncEngine
) -> None:
    await store.block("amara", "Key was stolen.", by=Author.person("sofia"), now=NOW)
    await store.block("amara", "Key was stolen.", by=Author.person("tom"), now=later(1))
    await store.block("amara", "Key was sold.", by=Author.person("tom"), now=later(2))
    block = (await store.read_standing("amara", "1"))[0]
    assert block is not None
    assert (block.reason, block.since) == ("Key was sold.", NOW)
    assert await store.list_blocked() == ("amara",)
    assert (await store.read_standing("bruno", "1"))[0] is None

    await store.unblock("amara", by=Author.person("sofia"), now=later(3))
    await store.unblock("amara", by=Author.person("tom"), now=later(4))
    assert (await store.read_standing("amara", "1"))[0] is None
    assert await store.list_blocked() == ()
    await store.block("amara", "Again.", by=Author.person("sofia"), now=later(5))
    fields = (blocks.c.reason, blocks.c.since, blocks.c.set_by, blocks.c.ended_at, blocks.c.ended_by)
    async with engine.connect() as connection:
        history = [tuple(row) for row in await connection.execute(select(*fields).order_by(blocks.c.id))]
    assert history == [
        ("Key was stolen.", NOW, "sofia", later(2), "tom"),
        ("Key was sold.", NOW, "tom", later(3), "sofia"),
        ("Again.", later(5), "sofia", None, None),
    ]


async def test_blocks_at_once_leave_one_in_force(store: AccountsStore) -> None:
    tries = (
        store.block("amara", f"Reason {number}.", by=Author.person("sofia"), now=NOW) for number in range(20)
    )
    assert await asyncio.gather(*tries) == [None] * 20
    assert await store.list_blocked() == ("amara",)


@pytest.mark.parametrize(
    "reason", ["'; DROP TABLE daas_block; --", 'O\'Neill "x" \\ %s', "ünïcödé 日本 🔬", "x" * 500]
)
async def test_keeps_any_text_as_it_is(store: AccountsStore, reason: str) -> None:
    await store.block("amara", reason, by=Author.person("sofia"), now=NOW)
    block = (await store.read_standing("amara", "1"))[0]
    assert block is not None
    assert block.reason == reason


async def test_a_role_is_held_once_with_its_last_grant(store: AccountsStore) -> None:
    def request(**given: object) -> RoleRequest:
        return RoleRequest.model_validate({"reason": "Asked by the group.", **given})

    await store.grant(
        "chiara", Role.INSTRUMENT_SCIENTIST, request(instruments=("id21",)), by=Author.person("s"), now=NOW
    )
    await store.grant("chiara", Role.STAFF, request(expires_at=later(60)), by=Author.person("s"), now=NOW)
    given = request(instruments=("id21", "id22"))
    await store.grant("chiara", Role.INSTRUMENT_SCIENTIST, given, by=Author.person("t"), now=later(1))
    held = await store.list_roles("chiara")
    assert [(each.role, each.instruments, each.expires_at, each.granted_by) for each in held] == [
        (Role.INSTRUMENT_SCIENTIST, ("id21", "id22"), None, "t"),
        (Role.STAFF, (), later(60), "s"),
    ]
    assert (await store.read_standing("chiara", "1"))[2] == held
    assert await store.revoke("chiara", Role.STAFF, by=Author.person("s"), now=NOW)
    assert not await store.revoke("chiara", Role.STAFF, by=Author.person("s"), now=NOW)
    assert [each.role for each in await store.list_roles("chiara")] == [Role.INSTRUMENT_SCIENTIST]
    assert await store.list_roles("sofia") == ()
