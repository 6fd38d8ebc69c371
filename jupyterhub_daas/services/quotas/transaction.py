"""Read what a batch of changes needs, let the ledger decide, write the result: one transaction.

It begins by locking the facility's row, and everything else is read after that, so two transactions never
decide on the same sums. The cost depends on what these persons and proposals hold now, not on history.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jupyterhub_daas.core.quota import QuotaPolicy, QuotaScope
from jupyterhub_daas.core.reservations import Reservation, ReservationState
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.services.quotas.ledger import (
    FACILITY,
    Change,
    Key,
    Ledger,
    Outcome,
    Reserve,
)
from jupyterhub_daas.services.quotas.tables import (
    AMOUNTS,
    amounts,
    facility,
    holding,
    micros,
    moment,
    overrides,
    reservations,
    resources_of,
    stale,
)

columns = reservations.c

_LOCK = select(facility).where(facility.c.id == 1).with_for_update()
_SET_FACILITY = update(facility).where(facility.c.id == 1)
_UPDATE = (
    update(reservations)
    .where(columns.session_id == bindparam("known"))
    .values(
        state=bindparam("new_state"),
        activated_at=bindparam("new_activated_at"),
        ended_at=bindparam("new_ended_at"),
    )
)
_PROLONG = (
    update(reservations)
    .where(columns.session_id == bindparam("known"))
    .values(lapses_at=bindparam("new_lapses_at"), expires_at=bindparam("new_expires_at"))
)
SUMS = [func.sum(columns[name]).label(name) for name in AMOUNTS]


@dataclass(frozen=True)
class Batch:
    """What became of the changes, in their order, and what the facility holds afterwards."""

    outcomes: list[Outcome | DaasError]
    held: Resources
    lapsed: int


async def lock(connection: AsyncConnection) -> Resources:
    """Keep every other change away until this transaction ends; return what the facility holds."""
    row = (await connection.execute(_LOCK)).one()
    return resources_of(row)


async def decide_batch(
    connection: AsyncConnection, policy: QuotaPolicy, changes: Sequence[Change], clock: Callable[[], datetime]
) -> Batch:
    """Apply the changes in a transaction that the caller has begun and will commit."""
    before = await lock(connection)
    # Only now: whoever waited for the lock must not decide as of before.
    now = clock()
    lapsed, held = await _lapse(connection, before, micros(now))
    ledger = await _read(connection, policy, changes, held, now)
    outcomes = [_apply(ledger, change) for change in changes]
    await _write(connection, ledger)
    after = ledger.used[FACILITY]
    if after != before:
        await connection.execute(_SET_FACILITY.values(amounts(after)))
    return Batch(outcomes=outcomes, held=after, lapsed=lapsed)


def _apply(ledger: Ledger, change: Change) -> Outcome | DaasError:
    try:
        return ledger.apply(change)
    except DaasError as error:
        return error


async def _lapse(connection: AsyncConnection, held: Resources, now: int) -> tuple[int, Resources]:
    found = (await connection.execute(select(func.count().label("found"), *SUMS).where(stale(now)))).one()
    if not found.found:
        return 0, held
    await connection.execute(
        update(reservations)
        .where(stale(now))
        .values(state=ReservationState.LAPSED.value, ended_at=columns.lapses_at)
    )
    return int(found.found), held - resources_of(found)


async def _read(
    connection: AsyncConnection,
    policy: QuotaPolicy,
    changes: Sequence[Change],
    held: Resources,
    now: datetime,
) -> Ledger:
    ids = sorted({change.session_id for change in changes})
    found = await connection.execute(select(reservations).where(columns.session_id.in_(ids)))
    rows = {row.session_id: reservation_of(row) for row in found}
    concerned: list[tuple[str, str]] = [(row.person, row.proposal) for row in rows.values()]
    concerned += [
        (change.request.person, change.request.proposal) for change in changes if isinstance(change, Reserve)
    ]
    people, proposals = ({pair[part] for pair in concerned} for part in (0, 1))
    used = {
        FACILITY: held,
        **await _sums(connection, QuotaScope.PERSON, columns.person, people),
        **await _sums(connection, QuotaScope.PROPOSAL, columns.proposal, proposals),
    }
    in_force = await overrides_in_force(connection, micros(now), people, proposals)
    return Ledger(policy=policy, now=now, rows=rows, used=used, overrides=in_force)


async def _sums(
    connection: AsyncConnection, scope: QuotaScope, column: Column[Any], keys: Iterable[str]
) -> dict[Key, Resources]:
    wanted = sorted(keys)
    used = {(scope, key): Resources() for key in wanted}
    if wanted:
        # The stale ones are written down already: what has not ended is held.
        query = select(column.label("key"), *SUMS).where(columns.ended_at.is_(None), column.in_(wanted))
        for row in await connection.execute(query.group_by(column)):
            used[(scope, row.key)] = resources_of(row)
    return used


async def used_by(connection: AsyncConnection, scope: QuotaScope, key: str, now: int) -> Resources:
    """Return what a person or a proposal holds."""
    column = columns.person if scope is QuotaScope.PERSON else columns.proposal
    row = (await connection.execute(select(*SUMS).where(holding(now), column == key))).one()
    return resources_of(row)


async def overrides_in_force(
    connection: AsyncConnection, now: int, people: Iterable[str], proposals: Iterable[str]
) -> dict[Key, Limits]:
    """Return the limits that staff put in place for these people and proposals."""
    table = overrides.c
    query = select(table.scope, table.key, table.limits).where(
        table.removed_at.is_(None),
        or_(table.expires_at.is_(None), table.expires_at > now),
        or_(
            and_(table.scope == QuotaScope.PERSON.value, table.key.in_(sorted(people))),
            and_(table.scope == QuotaScope.PROPOSAL.value, table.key.in_(sorted(proposals))),
        ),
    )
    found = await connection.execute(query)
    return {(QuotaScope(row.scope), row.key): Limits.model_validate_json(row.limits) for row in found}


async def _write(connection: AsyncConnection, ledger: Ledger) -> None:
    if ledger.inserted:
        rows = [_row(ledger.rows[session_id]) for session_id in sorted(ledger.inserted)]
        await connection.execute(insert(reservations), rows)
    if ledger.updated:
        updates = [
            {
                "known": session_id,
                "new_state": (row := ledger.rows[session_id]).state.value,
                "new_activated_at": _maybe(row.activated_at),
                "new_ended_at": _maybe(row.ended_at),
            }
            for session_id in sorted(ledger.updated)
        ]
        await connection.execute(_UPDATE, updates)
    if ledger.prolonged:
        now = micros(ledger.now)
        prolonged = [
            {
                "known": session_id,
                "new_lapses_at": now + 1_000_000 * (row := ledger.rows[session_id]).hold_seconds,
                "new_expires_at": _maybe(row.expires_at),
            }
            for session_id in sorted(ledger.prolonged)
        ]
        await connection.execute(_PROLONG, prolonged)


async def recount(connection: AsyncConnection) -> tuple[Resources, Resources]:
    """Set the facility's sum to what its reservations say; return what it was and what it is."""
    before = await lock(connection)
    row = (await connection.execute(select(*SUMS).where(columns.ended_at.is_(None)))).one()
    after = resources_of(row)
    if after != before:
        await connection.execute(_SET_FACILITY.values(amounts(after)))
    return before, after


def _maybe(value: datetime | None) -> int | None:
    return None if value is None else micros(value)


def _row(reservation: Reservation) -> dict[str, Any]:
    created = micros(reservation.created_at)
    return {
        "session_id": reservation.session_id,
        "person": reservation.person,
        "proposal": reservation.proposal,
        "session": reservation.session,
        "environment": reservation.environment,
        "flavour": reservation.flavour,
        "backend": reservation.backend,
        "instruments": json.dumps(reservation.instruments),
        **amounts(reservation.resources),
        "expires_at": _maybe(reservation.expires_at),
        "idle_seconds": reservation.idle_seconds,
        "hold_seconds": reservation.hold_seconds,
        "state": reservation.state.value,
        "created_at": created,
        "lapses_at": created + 1_000_000 * reservation.hold_seconds,
        "activated_at": _maybe(reservation.activated_at),
        "ended_at": _maybe(reservation.ended_at),
    }


def reservation_of(row: Any) -> Reservation:
    """Return the reservation of a row: what was validated when it came in is not validated again."""
    return Reservation.model_construct(
        session_id=row.session_id,
        person=row.person,
        proposal=row.proposal,
        session=row.session,
        resources=resources_of(row),
        environment=row.environment,
        flavour=row.flavour,
        backend=row.backend,
        instruments=tuple(json.loads(row.instruments)),
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        idle_seconds=row.idle_seconds,
        hold_seconds=row.hold_seconds,
        state=ReservationState(row.state),
        created_at=moment(row.created_at),
        activated_at=None if row.activated_at is None else moment(row.activated_at),
        ended_at=None if row.ended_at is None else moment(row.ended_at),
    )
