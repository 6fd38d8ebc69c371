"""The audit trail in the database: rows are added one after the other, and never touched again.

`append` runs within the transaction of the change that it tells of: both are kept, or neither. It takes the
head's lock last, so that no two transactions wait for each other.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, insert, inspect, or_, select, update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.audit import (
    Actor,
    ActorKind,
    AuditAction,
    AuditEvent,
    AuditOutcome,
    AuditRecord,
    Break,
    Head,
    ObjectKind,
    Stretch,
    TrailState,
    check_end,
    follow,
    record_of,
    row_of,
    stamp,
)
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.services.accounts.tables import audit, audit_head

BATCH = 500
# So many are checked whenever somebody looks: a few milliseconds, however long the trail is.
LATEST = 500


class Wanted(NamedTuple):
    """Which rows; what is None does not matter. The interval's end is excluded."""

    begins: datetime | None = None
    ends: datetime | None = None
    actor: str | None = None
    person: str | None = None
    proposal: str | None = None
    action: AuditAction | None = None
    outcome: AuditOutcome | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query."""
        found = self._plain()
        if self.person is not None:
            found.append(or_(*_about(self.person)))
        return found

    def ways(self) -> list[list[ColumnElement[bool]]]:
        """Return the conditions as queries that each walk one index; a row may fit several."""
        plain = self._plain()
        return [plain] if self.person is None else [[*plain, each] for each in _about(self.person)]

    def _plain(self) -> list[ColumnElement[bool]]:
        column = audit.c
        found: list[ColumnElement[bool]] = []
        for condition, value in (
            (column.actor, self.actor),
            (column.proposal, self.proposal),
            (column.action, self.action and self.action.value),
            (column.outcome, self.outcome and self.outcome.value),
        ):
            if value is not None:
                found.append(condition == value)
        if self.begins is not None:
            found.append(column.time >= stamp(self.begins))
        if self.ends is not None:
            found.append(column.time < stamp(self.ends))
        return found


def _about(username: str) -> tuple[ColumnElement[bool], ...]:
    # What she did, what was done for her, and what was done to her; services may have names like people's.
    column = audit.c
    return (
        and_(column.actor == username, column.actor_kind == ActorKind.PERSON.value),
        column.on_behalf_of == username,
        and_(column.object_key == username, column.object_kind == ObjectKind.PERSON.value),
    )


def latest_first(conditions: list[ColumnElement[bool]], before: str | None, count: int) -> Select[Any]:
    """Return a query for the latest rows; the cost is that of these rows, however many there are."""
    column = audit.c
    query = select(audit).where(*conditions).order_by(column.time.desc(), column.number.desc()).limit(count)
    if before is None:
        return query
    time, _, number = before.partition("_")
    return query.where(column.time <= time, or_(column.time < time, column.number < int(number)))


async def append(
    connection: AsyncConnection, event: AuditEvent, *, recorded_by: Actor, now: datetime
) -> tuple[AuditRecord, bool]:
    """Add an event to the trail within this transaction; tell whether it is new."""
    # PostgreSQL: whoever comes second waits here and then reads the head that the first one left.
    # SQLite: the transaction holds the one write lock already.
    locked = select(audit_head.c.number, audit_head.c.hash).with_for_update()
    head = Head(*(await connection.execute(locked)).one())
    present = (await connection.execute(select(audit).filter_by(event_id=event.event_id))).mappings().first()
    if present is not None:
        return _same(event, record_of(dict(present)), recorded_by), False
    row = row_of(event, head=head, recorded_by=recorded_by, now=now)
    await connection.execute(insert(audit).values(row))
    await connection.execute(update(audit_head).values(number=row["number"], hash=row["hash"]))
    return record_of(row), True


def _same(event: AuditEvent, kept: AuditRecord, recorded_by: Actor) -> AuditRecord:
    former = kept.model_dump(include=set(AuditEvent.model_fields))
    if former != event.model_dump() or kept.recorded_by != recorded_by:
        raise ConflictError("Another event has this event_id.", field="event_id")
    return kept


class AuditStore:
    """Add to the trail and read it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(
        self, event: AuditEvent, *, recorded_by: Actor, now: datetime
    ) -> tuple[AuditRecord, bool]:
        """Add one event; tell whether it is new."""
        async with writing(self._engine) as connection:
            return await append(connection, event, recorded_by=recorded_by, now=now)

    async def list_records(
        self, wanted: Wanted, *, before: str | None = None, limit: int = 50
    ) -> Stretch[AuditRecord]:
        """Return some records, the latest first; `before` is the `next` of the stretch before."""
        rows: dict[int, dict[str, Any]] = {}
        with answering():
            async with self._engine.connect() as connection:
                for conditions in wanted.ways():
                    query = latest_first(conditions, before, limit + 1)
                    rows |= {row["number"]: dict(row) for row in (await connection.execute(query)).mappings()}
        latest = sorted(rows.values(), key=lambda row: (row["time"], row["number"]), reverse=True)
        shown, more = latest[:limit], latest[limit:]
        return Stretch[AuditRecord](
            items=tuple(record_of(row) for row in shown),
            next=f"{shown[-1]['time']}_{shown[-1]['number']}" if more else None,
        )

    async def export(self, wanted: Wanted) -> AsyncIterator[AuditRecord]:
        """Yield all records that were there when it began, the oldest first."""
        head = await self.head()
        conditions = [*wanted.conditions(), audit.c.number <= head.number]
        async for row in self._in_batches(conditions):
            yield record_of(row)

    async def exists(self) -> bool:
        """Tell whether the database has a trail, however empty."""
        with answering():
            async with self._engine.connect() as connection:
                return await connection.run_sync(lambda plain: inspect(plain).has_table(audit.name))

    async def head(self) -> Head:
        """Return the head that is kept beside the rows."""
        with answering():
            async with self._engine.connect() as connection:
                return Head(*(await connection.execute(select(audit_head.c.number, audit_head.c.hash))).one())

    async def verify(self) -> Head | Break:
        """Return the head of the whole trail, or the first place where it is broken.

        Rows that are added meanwhile are left for the next time.
        """
        try:
            kept, reached = await self.head(), Head()
        except NoResultFound:
            return Break(1, "the head is missing")
        async for row in self._in_batches([audit.c.number <= kept.number]):
            after = follow(reached, row)
            if isinstance(after, Break):
                return after
            reached = after
        return check_end(reached, kept) or await self._past_the_end() or reached

    async def state(self, latest: int = LATEST) -> TrailState:
        """Return the head, and whether the latest rows lead to it without a break."""
        kept = await self.head()
        reached = await self._head_at(max(kept.number - latest, 0))
        checked, broken = kept.number - reached.number, None
        async for row in self._in_batches([audit.c.number > reached.number, audit.c.number <= kept.number]):
            after = follow(reached, row)
            if isinstance(after, Break):
                broken = after
                break
            reached = after
        broken = broken or check_end(reached, kept)
        return TrailState(
            number=kept.number, hash=kept.hash, checked=checked, broken=broken and f"{broken.what}."
        )

    async def _head_at(self, number: int) -> Head:
        if number == 0:
            return Head()
        with answering():
            async with self._engine.connect() as connection:
                found = await connection.scalar(select(audit.c.hash).filter_by(number=number))
        # If that row is gone, the one after it does not follow anything.
        return Head(number, found or "")

    async def check_contains(self, noted: Head) -> Break | None:
        """Return what is wrong if a head that was noted before is not in the trail."""
        if noted == Head():
            return None
        with answering():
            async with self._engine.connect() as connection:
                found = await connection.scalar(select(audit.c.hash).filter_by(number=noted.number))
        if found == noted.hash:
            return None
        return Break(noted.number, f"row {noted.number} is not the one that was noted")

    async def _past_the_end(self) -> Break | None:
        # In one statement: rows and head of the same moment.
        end = select(audit_head.c.number).scalar_subquery()
        query = select(audit.c.number).where(audit.c.number > end).order_by(audit.c.number).limit(1)
        with answering():
            async with self._engine.connect() as connection:
                number = await connection.scalar(query)
        return None if number is None else Break(number, f"row {number} was added past the end")

    async def _in_batches(self, conditions: list[ColumnElement[bool]]) -> AsyncIterator[dict[str, Any]]:
        # No transaction stays open meanwhile: a reader may be slow, and would hold up SQLite's log.
        wanted = list(conditions)
        while True:
            query = select(audit).where(*wanted).order_by(audit.c.number).limit(BATCH)
            with answering():
                async with self._engine.connect() as connection:
                    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
            for row in rows:
                yield row
            if len(rows) < BATCH:
                return
            wanted = [*conditions, audit.c.number > rows[-1]["number"]]
