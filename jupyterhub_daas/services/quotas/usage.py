"""Accounting: what was held within an interval, summed per person, proposal, instrument or environment.

Reservations are clipped to the interval, which includes its beginning and not its end; what still holds
counts up to now. Seconds count from the moment resources were held; `sessions` are those that came to run. A
proposal at two instruments counts at each of them.
"""

import csv
import io
import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Float, case, cast, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.services.quotas.tables import micros, reservations, stale

columns = reservations.c
SECOND = 1_000_000.0


class UsageBy(str, Enum):
    """What the sums are per."""

    PERSON = "person"
    PROPOSAL = "proposal"
    INSTRUMENT = "instrument"
    ENVIRONMENT = "environment"


class Usage(Model):
    """Sums of one person, proposal, instrument (empty: none) or environment; memory is in byte-seconds."""

    key: str
    sessions: int
    machine_seconds: float
    cpu_seconds: float
    memory_byte_seconds: float
    gpu_seconds: float


class UsageReport(Model):
    """All sums of an interval."""

    begins: Annotated[datetime, Field(serialization_alias="from")]
    ends: Annotated[datetime, Field(serialization_alias="to")]
    by: UsageBy
    items: tuple[Usage, ...]
    total: int


SUMS = ("sessions", "machine_seconds", "cpu_seconds", "memory_byte_seconds", "gpu_seconds")
_BY = {
    UsageBy.PERSON: columns.person,
    UsageBy.PROPOSAL: columns.proposal,
    UsageBy.INSTRUMENT: columns.instruments,
    UsageBy.ENVIRONMENT: columns.environment,
}


async def read_usage(
    connection: AsyncConnection, *, begins: datetime, ends: datetime, by: UsageBy, now: datetime
) -> UsageReport:
    """Sum what was held from `begins` until `ends`."""
    first, last, present = micros(begins), min(micros(ends), micros(now)), micros(now)
    over = func.coalesce(columns.ended_at, case((stale(present), columns.lapses_at), else_=present))
    start = case((columns.created_at < first, first), else_=columns.created_at)
    end: ColumnElement[int] = case((over > last, last), else_=over)
    seconds = cast(end - start, Float) / literal(SECOND)
    key = _BY[by]
    query = (
        select(
            key.label("key"),
            func.sum(case((columns.activated_at.is_not(None), 1), else_=0)).label("sessions"),
            func.sum(columns.machines * seconds).label("machine_seconds"),
            func.sum(columns.millicpus * seconds / literal(1000.0)).label("cpu_seconds"),
            func.sum(columns.memory * seconds).label("memory_byte_seconds"),
            func.sum(columns.gpus * seconds).label("gpu_seconds"),
        )
        # The two bare columns let the database use its index; what is clipped decides.
        .where(columns.created_at < last, or_(columns.ended_at.is_(None), columns.ended_at > first))
        .where(end > start)
        .group_by(key)
    )
    found = [row._asdict() for row in await connection.execute(query)]
    sums = _per_instrument(found) if by is UsageBy.INSTRUMENT else {row["key"]: row for row in found}
    items = tuple(_usage(name, sums[name]) for name in sorted(sums))
    return UsageReport(begins=begins, ends=ends, by=by, items=items, total=len(items))


def _per_instrument(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    sums: dict[str, dict[str, Any]] = {}
    for row in rows:
        for instrument in set(json.loads(row["key"])) or {""}:
            known = sums.setdefault(instrument, dict.fromkeys(SUMS, 0))
            for name in SUMS:
                known[name] += row[name]
    return sums


def _usage(key: str, row: dict[str, Any]) -> Usage:
    seconds = {name: round(float(row[name]), 3) for name in SUMS if name != "sessions"}
    return Usage(key=key, sessions=int(row["sessions"]), **seconds)


def as_csv(report: UsageReport) -> str:
    """Write a report for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([report.by.value, *SUMS])
    for item in report.items:
        writer.writerow([_cell(item.key), *(getattr(item, name) for name in SUMS)])
    return text.getvalue()


def _cell(text: str) -> str:
    # A spreadsheet would run what begins so as a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
