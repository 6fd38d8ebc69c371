"""Overrides: limits that staff put in place for a person or a proposal, for a reason and a time.

Nothing is deleted: a replaced or removed override stays as the record of who changed what and when.
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.proposals import Page
from jupyterhub_daas.core.quota import Override, OverrideRequest, QuotaScope
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.services.quotas.tables import micros, moment, overrides
from jupyterhub_daas.services.quotas.transaction import lock

table = overrides.c


async def list_overrides(engine: AsyncEngine) -> Page[Override]:
    """Return what is recorded and not removed, also if it has expired."""
    query = select(overrides).where(table.removed_at.is_(None)).order_by(table.scope, table.key)
    with answering():
        async with engine.connect() as connection:
            items = tuple(_override(row) for row in await connection.execute(query))
    return Page[Override](items=items, total=len(items))


async def create_override(
    engine: AsyncEngine, scope: QuotaScope, key: str, request: OverrideRequest, *, by: str, now: datetime
) -> tuple[Override, bool]:
    """Record an override in place of the one that stands; tell whether none stood."""
    override = Override(
        **{name: getattr(request, name) for name in OverrideRequest.model_fields},
        scope=scope,
        key=key,
        recorded_by=by,
        recorded_at=now,
    )
    async with writing(engine) as connection:
        # The lock of the reservations: two overrides, or one and a start, take turns.
        await lock(connection)
        replaced = await _remove(connection, scope, key, by=by, now=now)
        await connection.execute(
            insert(overrides).values(
                scope=scope.value,
                key=key,
                limits=json.dumps(override.model_dump(mode="json")["limits"]),
                reason=override.reason,
                expires_at=None if override.expires_at is None else micros(override.expires_at),
                recorded_by=by,
                recorded_at=micros(now),
            )
        )
    return override, not replaced


async def delete_override(
    engine: AsyncEngine, scope: QuotaScope, key: str, *, by: str, now: datetime
) -> bool:
    """Remove the override that stands; tell whether there was one."""
    async with writing(engine) as connection:
        await lock(connection)
        return await _remove(connection, scope, key, by=by, now=now)


async def _remove(
    connection: AsyncConnection, scope: QuotaScope, key: str, *, by: str, now: datetime
) -> bool:
    result = await connection.execute(
        update(overrides)
        .where(table.removed_at.is_(None), table.scope == scope.value, table.key == key)
        .values(removed_by=by, removed_at=micros(now))
    )
    return result.rowcount > 0


def _override(row: Any) -> Override:
    return Override(
        scope=QuotaScope(row.scope),
        key=row.key,
        limits=json.loads(row.limits),
        reason=row.reason,
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        recorded_by=row.recorded_by,
        recorded_at=moment(row.recorded_at),
    )
