"""The tables of *quotas*.

A reservation holds resources exactly while `ended_at` is null; indexes on that part alone keep every check as
cheap as what is held now, however long the history. The one row of `facility` is the sum of all that is held,
and the lock: whoever changes what is held locks it first, so that no two changes overlap.

Moments are microseconds since 1970 and cpus are thousandths, because sums and differences of whole numbers
are exact and written the same way for every database.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, and_, case, not_
from sqlalchemy.sql.elements import ColumnElement

from jupyterhub_daas.core.moments import EARLIEST
from jupyterhub_daas.core.reservations import ReservationState
from jupyterhub_daas.core.resources import Resources

metadata = MetaData()


def _amounts() -> list[Column[Any]]:
    return [
        Column("machines", BigInteger, nullable=False),
        Column("millicpus", BigInteger, nullable=False),
        Column("memory", BigInteger, nullable=False),
        Column("storage", BigInteger, nullable=False),
        Column("gpus", BigInteger, nullable=False),
    ]


AMOUNTS = ("machines", "millicpus", "memory", "storage", "gpus")

reservations = Table(
    "quotas_reservations",
    metadata,
    Column("session_id", String(16), primary_key=True),
    Column("person", String(31), nullable=False),
    Column("proposal", String(64), nullable=False),
    Column("session", String(31), nullable=False),
    Column("environment", String(31), nullable=False),
    Column("flavour", String(31), nullable=False),
    Column("backend", String(31), nullable=False),
    Column("instruments", Text, nullable=False),
    *_amounts(),
    Column("expires_at", BigInteger),
    Column("idle_seconds", BigInteger),
    Column("hold_seconds", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("lapses_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("ended_at", BigInteger),
)

facility = Table(
    "quotas_facility",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *_amounts(),
)

overrides = Table(
    "quotas_overrides",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("scope", String(8), nullable=False),
    Column("key", String(64), nullable=False),
    Column("limits", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("recorded_by", Text, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    # Replaced and removed ones stay, as the record of who changed what.
    Column("removed_by", Text),
    Column("removed_at", BigInteger),
)

_HOLDING = reservations.c.ended_at.is_(None)
_HELD = and_(_HOLDING, reservations.c.state == ReservationState.HELD.value)
_PRESENT = overrides.c.removed_at.is_(None)


def _partial(name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial("ix_quotas_holding_person", reservations.c.person, where=_HOLDING)
_partial("ix_quotas_holding_proposal", reservations.c.proposal, where=_HOLDING)
_partial("ix_quotas_held_lapses", reservations.c.lapses_at, where=_HELD)
_partial("ix_quotas_overrides_present", overrides.c.scope, overrides.c.key, where=_PRESENT, unique=True)
Index("ix_quotas_ended", reservations.c.ended_at)
Index("ix_quotas_person", reservations.c.person, reservations.c.created_at)
Index("ix_quotas_proposal", reservations.c.proposal, reservations.c.created_at)


def stale(now: int) -> ColumnElement[bool]:
    """Select held reservations that were never made active in time."""
    return and_(_HELD, reservations.c.lapses_at <= now)


def holding(now: int) -> ColumnElement[bool]:
    """Select what counts as used, also before the stale ones are written down as lapsed."""
    return and_(_HOLDING, not_(stale(now)))


def state_at(now: int) -> ColumnElement[str]:
    """Return the state as of now, also before the stale ones are written down as lapsed."""
    return case((stale(now), ReservationState.LAPSED.value), else_=reservations.c.state)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return (moment - EARLIEST) // timedelta(microseconds=1)


def moment(value: int) -> datetime:
    """Return the moment of so many microseconds since 1970."""
    return EARLIEST + timedelta(microseconds=value)


def amounts(resources: Resources) -> dict[str, int]:
    """Return the columns of resources."""
    return {
        "machines": resources.machines,
        "millicpus": round(1000 * resources.cpus),
        "memory": resources.memory,
        "storage": resources.storage,
        "gpus": resources.gpus,
    }


def resources_of(row: Any) -> Resources:
    """Return the resources of a row or of a sum; no rows sum to nothing."""
    return Resources.model_construct(
        machines=int(row.machines or 0),
        cpus=round(int(row.millicpus or 0) / 1000, 3),
        memory=int(row.memory or 0),
        storage=int(row.storage or 0),
        gpus=int(row.gpus or 0),
    )
