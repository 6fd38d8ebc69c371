"""What *quotas* keeps, and the one way to change what is held.

Requests that arrive while a transaction is under way are decided together in the next one, each in its turn,
and nobody is answered before its commit. So one writer at a time, as SQLite has it, serves many callers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.elements import ColumnElement

from jupyterhub_daas.core.proposals import Page
from jupyterhub_daas.core.quota import (
    Entitlement,
    Quota,
    QuotaPolicy,
    QuotaScope,
    proposal_limits,
    quota_of,
)
from jupyterhub_daas.core.reservations import Reservation, ReservationRequest, ReservationState
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import DaasError, UpstreamUnavailableError
from jupyterhub_daas.services.quotas.ledger import (
    Activate,
    Change,
    EntitlementNeeded,
    Granted,
    Outcome,
    Prolong,
    Release,
    Reserve,
)
from jupyterhub_daas.services.quotas.metrics import count_decision, count_lapsed, show_held
from jupyterhub_daas.services.quotas.tables import micros, moment, reservations, stale, state_at
from jupyterhub_daas.services.quotas.transaction import (
    decide_batch,
    overrides_in_force,
    recount,
    reservation_of,
    used_by,
)
from jupyterhub_daas.services.quotas.usage import UsageBy, UsageReport, read_usage

log = logging.getLogger("jupyterhub_daas.services.quotas")

MAX_BATCH = 100
MAX_WAITING = 5000

columns = reservations.c


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(timezone.utc)


class QuotaStore:
    """Reservations and quotas. One store per process; any number of processes on one PostgreSQL."""

    def __init__(
        self, engine: AsyncEngine, policy: QuotaPolicy, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.engine = engine
        self._policy = policy
        self._clock = clock
        self._waiting: list[tuple[Change, asyncio.Future[Outcome]]] = []
        self._writer: asyncio.Task[None] | None = None

    # --- what is held

    async def reserve(
        self, session_id: str, request: ReservationRequest, entitlement: Entitlement
    ) -> Granted:
        """Hold resources, or raise QuotaExceededError or ConflictError; the same again changes nothing."""
        try:
            outcome = await self._submit(Reserve(session_id, request, entitlement))
        except DaasError as error:
            count_decision(error)
            raise
        assert isinstance(outcome, Granted)
        count_decision(outcome.created)
        return outcome

    async def activate(
        self, session_id: str, entitlement_of: Callable[[str], Awaitable[Entitlement]]
    ) -> Reservation:
        """Record that a session runs; a lapsed reservation is decided anew in the same transaction."""
        outcome = await self._submit(Activate(session_id))
        if isinstance(outcome, EntitlementNeeded):
            outcome = await self._submit(Activate(session_id, await entitlement_of(outcome.person)))
        assert isinstance(outcome, Granted)
        return outcome.reservation

    async def prolong(self, session_id: str, expires_at: datetime | None) -> Reservation:
        """Hold on for as long again as was asked for at first, or raise ConflictError."""
        outcome = await self._submit(Prolong(session_id, expires_at))
        assert isinstance(outcome, Granted)
        return outcome.reservation

    async def release(self, session_id: str) -> None:
        """Let go of what a session holds; unknown and ended ones are left as they are."""
        await self._submit(Release(session_id))

    async def lapse(self) -> None:
        """Write down as lapsed what was held too long, and show what is held now."""
        now = micros(self._clock())
        async with self._reading() as connection:
            waits = (await connection.execute(select(columns.session_id).where(stale(now)).limit(1))).first()
        if waits is not None:
            await self._write([])

    async def recount(self) -> None:
        """Make the facility's sum that of its reservations, should somebody have changed rows by hand."""
        async with writing(self.engine) as connection:
            before, after = await recount(connection)
        if before != after:
            log.warning("The sum of all that is held was %s and is set to %s", before, after)
        show_held(after)

    async def close(self) -> None:
        """Wait for the transaction that is under way."""
        if self._writer is not None:
            await self._writer

    async def _submit(self, change: Change) -> Outcome:
        if len(self._waiting) >= MAX_WAITING:
            raise UpstreamUnavailableError(
                "Too many requests wait for the quota database. Please try again in a minute.",
                service="database",
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, future))
        if self._writer is None or self._writer.done():
            # Its own task: a caller that goes away must not end a transaction that carries others' requests.
            self._writer = asyncio.ensure_future(self._write_all())
        return await future

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                await self._answer(batch)
            finally:
                # However this ends, nobody waits for an answer that will not come.
                for _, future in batch:
                    future.cancel()

    async def _answer(self, batch: list[tuple[Change, asyncio.Future[Outcome]]]) -> None:
        outcomes: list[Outcome | BaseException]
        try:
            outcomes = [*await self._write([change for change, _ in batch])]
        except UpstreamUnavailableError as error:
            outcomes = [error for _ in batch]
        except Exception as error:
            if len(batch) > 1:
                log.exception("A transaction failed, its requests are tried one by one")
                for each in batch:
                    await self._answer([each])
                return
            outcomes = [error]
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _write(self, changes: list[Change]) -> list[Outcome | DaasError]:
        async with writing(self.engine) as connection:
            batch = await decide_batch(connection, self._policy, changes, self._clock)
        show_held(batch.held)
        count_lapsed(batch.lapsed)
        return batch.outcomes

    # --- reading

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with answering():
            async with self.engine.connect() as connection:
                yield connection

    async def quota_of_person(self, username: str, entitlement: Entitlement) -> Quota:
        """Return a person's limits and what she holds."""
        return await self._quota(QuotaScope.PERSON, username, entitlement.limits)

    async def quota_of_proposal(self, identifier: str) -> Quota:
        """Return the limits of a proposal and what all its sessions hold."""
        return await self._quota(QuotaScope.PROPOSAL, identifier, proposal_limits(self._policy, identifier))

    async def _quota(self, scope: QuotaScope, key: str, limits: Limits) -> Quota:
        now = micros(self._clock())
        person, proposal = ([key], []) if scope is QuotaScope.PERSON else ([], [key])
        async with self._reading() as connection:
            used: Resources = await used_by(connection, scope, key, now)
            override = (await overrides_in_force(connection, now, person, proposal)).get((scope, key))
        merged = limits if override is None else limits.merged(override)
        return quota_of(merged, used, self._policy.default_flavour)

    async def reservations(
        self,
        *,
        person: str | None,
        proposal: str | None,
        states: Collection[ReservationState],
        offset: int,
        limit: int | None,
    ) -> Page[Reservation]:
        """Return reservations, the newest first; no limit is for what is held, which is never history."""
        now = micros(self._clock())
        state = state_at(now)
        where: list[ColumnElement[bool]] = [state.in_([each.value for each in states])]
        if not {ReservationState.RELEASED, ReservationState.LAPSED}.intersection(states):
            where.append(columns.ended_at.is_(None))
        if person is not None:
            where.append(columns.person == person)
        if proposal is not None:
            where.append(columns.proposal == proposal)
        query = select(reservations, state.label("state_now")).where(*where)
        query = query.order_by(columns.created_at.desc(), columns.session_id).offset(offset).limit(limit)
        async with self._reading() as connection:
            total = (
                await connection.execute(select(func.count()).select_from(reservations).where(*where))
            ).scalar_one()
            items = tuple(_as_of_now(row) for row in await connection.execute(query))
        return Page[Reservation](items=items, total=total)

    async def usage(self, *, begins: datetime, ends: datetime, by: UsageBy) -> UsageReport:
        """Sum what was held within an interval."""
        async with self._reading() as connection:
            return await read_usage(connection, begins=begins, ends=ends, by=by, now=self._clock())


def _as_of_now(row: Any) -> Reservation:
    reservation = reservation_of(row)
    if row.state_now == row.state:
        return reservation
    return reservation.model_copy(
        update={"state": ReservationState(row.state_now), "ended_at": moment(row.lapses_at)}
    )
