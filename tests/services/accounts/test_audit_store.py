"""The audit trail in the database, on SQLite and on PostgreSQL: added to in order, and touched by nobody."""

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.audit import (
    BEGINNING,
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditOutcome,
    Author,
    Break,
    Head,
    row_of,
)
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.database.engine import create_engine, writing
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.services.accounts import audit as audit_module
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.accounts.models import RoleRequest
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.accounts.tables import audit, audit_head, metadata
from tests.services.schema import differences

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
HUB = Actor(kind=ActorKind.SERVICE, name="daas-hub")
SOFIA = Author.person("sofia")


def event(**given: Any) -> AuditEvent:
    values = {
        "time": NOW,
        "actor": {"kind": "person", "name": "amara"},
        "action": "login",
        "object": {"kind": "portal", "key": "hub"},
    }
    return AuditEvent.model_validate({**values, **given})


@pytest.fixture
async def trail(engine: AsyncEngine) -> AuditStore:
    await upgrade(engine, "accounts")
    return AuditStore(engine)


@pytest.fixture
async def store(engine: AsyncEngine, trail: AuditStore) -> AccountsStore:
    return AccountsStore(engine)


async def fill(trail: AuditStore, count: int) -> None:
    for number in range(count):
        await trail.record(event(details={"n": str(number)}), recorded_by=HUB, now=NOW)


async def unguarded(engine: AsyncEngine, *statements: Any) -> None:
    """Do what only the owner of the database can: take the triggers away first."""
    async with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            for table in ("daas_audit", "daas_audit_head"):
                await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        else:
            query = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for name in (await connection.scalars(query)).all():
                await connection.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            await connection.execute(statement)


async def test_64_at_once_make_one_chain(trail: AuditStore) -> None:
    many = (trail.record(event(details={"n": str(n)}), recorded_by=HUB, now=NOW) for n in range(64))
    made = await asyncio.gather(*many)
    assert sorted(record.number for record, _ in made) == list(range(1, 65))
    records = [record async for record in trail.export(Wanted())]
    assert [each.number for each in records] == list(range(1, 65))
    assert [each.previous for each in records[1:]] == [each.hash for each in records[:-1]]
    assert {each.details["n"] for each in records} == {str(n) for n in range(64)}
    assert await trail.verify() == Head(64, records[-1].hash)


async def test_changes_and_events_at_once_make_one_chain(store: AccountsStore, trail: AuditStore) -> None:
    blocks = (store.block(f"p{n % 8}", f"Reason {n}.", by=SOFIA, now=NOW) for n in range(32))
    events = (trail.record(event(), recorded_by=HUB, now=NOW) for _ in range(32))
    await asyncio.gather(*blocks, *events)
    head = await trail.verify()
    assert isinstance(head, Head)
    assert head.number == 64


async def test_the_same_event_twice_is_kept_once(trail: AuditStore) -> None:
    one = event()
    tries = await asyncio.gather(*(trail.record(one, recorded_by=HUB, now=NOW) for _ in range(8)))
    assert sum(new for _, new in tries) == 1
    assert len({record.hash for record, _ in tries}) == 1
    assert (await trail.head()).number == 1


async def test_refuses_another_event_of_the_same_id(trail: AuditStore) -> None:
    one = event()
    await trail.record(one, recorded_by=HUB, now=NOW)
    with pytest.raises(ConflictError):
        await trail.record(one.model_copy(update={"reason": "other"}), recorded_by=HUB, now=NOW)
    other = Actor(kind=ActorKind.PERSON, name="daas-hub")
    with pytest.raises(ConflictError):
        await trail.record(one, recorded_by=other, now=NOW)
    assert await trail.verify() == await trail.head()


@pytest.mark.parametrize(
    "statement",
    [
        update(audit).values(actor="bruno"),
        update(audit).where(audit.c.number == 2).values(hash="0" * 64),
        delete(audit),
        delete(audit).where(audit.c.number == 3),
        delete(audit_head),
        update(audit_head).values(number=1),
        update(audit_head).values(hash="0" * 64),
        update(audit_head).values(number=9),
    ],
    ids=str,
)
async def test_refuses_any_change(engine: AsyncEngine, trail: AuditStore, statement: Any) -> None:
    await fill(trail, 3)
    with pytest.raises(DBAPIError, match="append only"):
        async with writing(engine) as connection:
            await connection.execute(statement)
    head = await trail.verify()
    assert isinstance(head, Head)
    assert head.number == 3


async def test_refuses_what_changes_rows_by_other_words(engine: AsyncEngine, trail: AuditStore) -> None:
    await fill(trail, 3)
    columns = ", ".join(column.name for column in audit.c if column.name != "actor")
    copied = f"({columns}, actor) SELECT {columns}, 'bruno' FROM daas_audit WHERE number = 2"
    other = {
        "sqlite": (f"INSERT OR REPLACE INTO daas_audit {copied}", f"REPLACE INTO daas_audit {copied}"),
        "postgresql": ("TRUNCATE daas_audit", "TRUNCATE daas_audit_head"),
    }
    for statement in other[engine.dialect.name]:
        with pytest.raises(DBAPIError, match="append only"):
            async with writing(engine) as connection:
                await connection.execute(text(statement))
    assert isinstance(await trail.verify(), Head)


COLUMNS = [column.name for column in audit.c if column.name != "number"]


@pytest.mark.parametrize("column", COLUMNS)
async def test_finds_a_changed_row(engine: AsyncEngine, trail: AuditStore, column: str) -> None:
    await fill(trail, 4)
    changed = update(audit).where(audit.c.number == 3).values({column: "forged"})
    await unguarded(engine, changed)
    broken = await trail.verify()
    assert isinstance(broken, Break)
    assert broken.number == 3


@pytest.mark.parametrize("gone", [1, 2, 4])
async def test_finds_a_removed_row(engine: AsyncEngine, trail: AuditStore, gone: int) -> None:
    await fill(trail, 4)
    await unguarded(engine, delete(audit).where(audit.c.number == gone))
    broken = await trail.verify()
    assert isinstance(broken, Break)
    assert (broken.number, broken.what.startswith(f"row {gone} is missing")) == (gone, True)


async def test_finds_rows_that_changed_places(engine: AsyncEngine, trail: AuditStore) -> None:
    await fill(trail, 4)
    swap = [
        update(audit).where(audit.c.number == before).values(number=after)
        for before, after in ((2, 99), (3, 2), (99, 3))
    ]
    await unguarded(engine, *swap)
    broken = await trail.verify()
    assert isinstance(broken, Break)
    assert broken.number == 2


async def test_finds_a_row_that_was_added_past_the_end(engine: AsyncEngine, trail: AuditStore) -> None:
    await fill(trail, 2)
    forged = row_of(event(), head=await trail.head(), recorded_by=HUB, now=NOW)
    await unguarded(engine, insert(audit).values(forged))
    assert await trail.verify() == Break(3, "row 3 was added past the end")


async def test_finds_a_head_that_is_gone(engine: AsyncEngine, trail: AuditStore) -> None:
    await fill(trail, 2)
    await unguarded(engine, delete(audit_head))
    assert isinstance(await trail.verify(), Break)


async def test_reads_a_long_trail_in_parts(trail: AuditStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_module, "BATCH", 3)
    await fill(trail, 9)
    assert [record.number async for record in trail.export(Wanted())] == list(range(1, 10))
    assert await trail.verify() == await trail.head()


async def test_an_export_ends_although_events_go_on(
    trail: AuditStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "BATCH", 2)
    await fill(trail, 4)
    numbers = []
    async for record in trail.export(Wanted()):
        numbers.append(record.number)
        await fill(trail, 1)
    assert numbers == [1, 2, 3, 4]


async def test_lists_what_is_wanted(trail: AuditStore) -> None:
    person = {"kind": "person", "name": "amara"}
    support = {"kind": "person", "name": "tom"}
    session = {"kind": "session", "key": "brave-curie"}
    given: list[dict[str, Any]] = [
        {"actor": person},
        {"actor": support, "on_behalf_of": "amara", "action": "start", "object": session, "proposal": "P-1"},
        {"actor": support, "action": "block", "object": {"kind": "person", "key": "amara"}},
        # Not she: a service of her name, a session of her name.
        {"actor": {"kind": "service", "name": "amara"}},
        {"actor": support, "object": {"kind": "session", "key": "amara"}, "outcome": "refused"},
    ]
    for number, each in enumerate(given):
        moment = NOW + timedelta(hours=number)
        await trail.record(event(**{**each, "time": moment}), recorded_by=HUB, now=NOW)

    async def numbers(**wanted: Any) -> list[int]:
        page = await trail.list_records(Wanted(**wanted))
        assert page.next is None
        return [each.number for each in page.items]

    assert await numbers() == [5, 4, 3, 2, 1]
    assert await numbers(person="amara") == [3, 2, 1]
    assert await numbers(actor="amara") == [4, 1]
    assert await numbers(proposal="P-1") == [2]
    assert await numbers(action=AuditAction.BLOCK) == [3]
    assert await numbers(outcome=AuditOutcome.REFUSED) == [5]
    assert await numbers(begins=NOW + timedelta(hours=1), ends=NOW + timedelta(hours=3)) == [3, 2]
    assert await numbers(person="amara", action=AuditAction.START) == [2]
    assert await numbers(person="amara", outcome=AuditOutcome.REFUSED) == []


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(person="amara"), Wanted(action=AuditAction.LOGIN)])
async def test_stretches_hold_each_event_once(trail: AuditStore, wanted: Wanted) -> None:
    # Three of one moment, one that was told late, and two that fit the person in more than one way.
    moments = [0, 1, 1, 1, 3, 2, 4]
    for each in moments:
        twice = {"on_behalf_of": "amara", "object": {"kind": "person", "key": "amara"}} if each > 2 else {}
        await trail.record(event(time=NOW + timedelta(seconds=each), **twice), recorded_by=HUB, now=NOW)
    found: list[int] = []
    before = None
    while True:
        stretch = await trail.list_records(wanted, before=before, limit=2)
        found += [each.number for each in stretch.items]
        # One that comes meanwhile is later than all that are still to be shown.
        await trail.record(event(time=NOW + timedelta(hours=1)), recorded_by=HUB, now=NOW)
        before = stretch.next
        if before is None:
            break
    assert found == [7, 5, 6, 4, 3, 2, 1]


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(begins=NOW, ends=NOW + timedelta(days=1)),
        Wanted(actor="amara"),
        Wanted(person="amara"),
        Wanted(proposal="P-1"),
        Wanted(proposal="P-1", action=AuditAction.DATA_ACCESS),
        Wanted(action=AuditAction.DENIAL, begins=NOW),
        Wanted(outcome=AuditOutcome.REFUSED),
    ],
)
async def test_a_stretch_costs_what_it_holds(tmp_path: Path, wanted: Wanted) -> None:
    """Each filter walks an index in the order that is shown: nothing is sorted, however long the trail is."""
    engine = create_engine(f"sqlite:///{tmp_path / 'daas.sqlite'}")
    await upgrade(engine, "accounts")
    try:
        async with engine.connect() as connection:
            for conditions in wanted.ways():
                query = audit_module.latest_first(conditions, "2026-03-01T12:00:00.000000Z_7", 51)
                plan = await connection.execute(
                    text(
                        "EXPLAIN QUERY PLAN "
                        + str(query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True}))
                    )
                )
                steps = [row.detail for row in plan]
                assert "USING INDEX daas_audit_" in steps[0], steps
                # Those of one moment are put in order, and no others.
                assert all("PART OF ORDER BY" in step or "LAST TERM" in step for step in steps[1:]), steps
    finally:
        await engine.dispose()


async def test_the_state_looks_at_the_latest(engine: AsyncEngine, trail: AuditStore) -> None:
    assert (await trail.state()).model_dump() == {
        "number": 0,
        "hash": BEGINNING,
        "checked": 0,
        "broken": None,
    }
    await fill(trail, 6)
    state = await trail.state(latest=4)
    head = await trail.head()
    assert (state.number, state.hash, state.checked, state.broken) == (6, head.hash, 4, None)
    await unguarded(engine, update(audit).where(audit.c.number == 4).values(actor="nobody"))
    assert (await trail.state(latest=4)).broken == "row 4 was changed."
    # It is not among the latest two, and they still follow each other.
    assert (await trail.state(latest=2)).broken is None
    await unguarded(engine, delete(audit).where(audit.c.number == 6))
    assert (await trail.state(latest=2)).broken == "row 6 is missing: the trail had 6 rows."
    await unguarded(engine, delete(audit).where(audit.c.number == 3))
    assert "row 4" in str((await trail.state(latest=3)).broken)


async def told(trail: AuditStore) -> list[tuple[str, str, str, dict[str, str]]]:
    return [
        (each.action.value, each.actor.name, each.object.key, each.details)
        async for each in trail.export(Wanted())
    ]


async def test_changes_are_told(store: AccountsStore, trail: AuditStore) -> None:
    by = SOFIA._replace(request_id="r-1")
    await store.accept("amara", "2026-01", now=NOW)
    await store.block("amara", "Key was stolen.", by=by, now=NOW)
    await store.unblock("amara", by=by, now=NOW)
    request = RoleRequest(instruments=("id21",), reason="Helps there.")
    await store.grant("chiara", Role.INSTRUMENT_SCIENTIST, request, by=by, now=NOW)
    await store.revoke("chiara", Role.INSTRUMENT_SCIENTIST, by=by, now=NOW)
    given = {"change": "granted", "role": "instrument_scientist", "instruments": "id21"}
    assert await told(trail) == [
        ("acceptance", "amara", "2026-01", {}),
        ("block", "sofia", "amara", {"reason": "Key was stolen."}),
        ("unblock", "sofia", "amara", {}),
        ("role", "sofia", "chiara", {**given, "reason": "Helps there."}),
        ("role", "sofia", "chiara", {"change": "revoked", "role": "instrument_scientist"}),
    ]
    records = [each async for each in trail.export(Wanted(actor="sofia"))]
    assert {each.request_id for each in records} == {"r-1"}
    assert {each.recorded_by.name for each in records} == {"accounts"}


async def test_what_changes_nothing_is_not_told(store: AccountsStore, trail: AuditStore) -> None:
    for _ in range(2):
        await store.accept("amara", "2026-01", now=NOW)
        await store.block("amara", "Key was stolen.", by=SOFIA, now=NOW)
    await store.unblock("bruno", by=SOFIA, now=NOW)
    assert not await store.revoke("bruno", Role.STAFF, by=SOFIA, now=NOW)
    assert [each[0] for each in await told(trail)] == ["acceptance", "block"]


async def test_a_change_that_cannot_be_told_is_not_made(
    engine: AsyncEngine, store: AccountsStore, trail: AuditStore
) -> None:
    await store.grant("chiara", Role.STAFF, RoleRequest(reason="x"), by=SOFIA, now=NOW)
    await unguarded(engine, delete(audit_head))
    with pytest.raises(Exception, match="No row"):
        await store.block("amara", "Key was stolen.", by=SOFIA, now=NOW)
    with pytest.raises(Exception, match="No row"):
        await store.revoke("chiara", Role.STAFF, by=SOFIA, now=NOW)
    assert await store.list_blocked() == ()
    assert [each.role for each in await store.list_roles("chiara")] == [Role.STAFF]


async def test_upgrades_a_database_that_people_use(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _revision: real(config, "0001"))
    await upgrade(engine, "accounts")
    since = "'2026-01-01 00:00:00+00:00'" if engine.dialect.name == "postgresql" else "'2026-01-01 00:00:00'"
    async with writing(engine) as connection:
        old = f"INSERT INTO daas_block (username, reason, since, set_by) VALUES ('zoe', 'x', {since}, 'tom')"
        await connection.execute(text(old))
    monkeypatch.undo()
    await upgrade(engine, "accounts")
    assert await differences(engine, "accounts", metadata) == []
    store, trail = AccountsStore(engine), AuditStore(engine)
    assert await store.list_blocked() == ("zoe",)
    await store.unblock("zoe", by=SOFIA, now=NOW)
    assert await told(trail) == [("unblock", "sofia", "zoe", {})]
    async with engine.connect() as connection:
        assert (await connection.execute(select(audit_head.c.id, audit_head.c.number))).all() == [(1, 1)]
