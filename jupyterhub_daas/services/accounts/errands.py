"""Errands: what has to be done outside of the database because of a change in it.

An errand is written in the transaction of its change, tried at once, and tried again until it is done: what
was decided is carried out, whoever was away at the time. Each may be carried out twice without harm.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from prometheus_client import Gauge
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.services.accounts.tables import errands

log = logging.getLogger("jupyterhub_daas.services.accounts")

FIRST_PAUSE = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=10)
LOOK_SECONDS = 5.0
SOON_SECONDS = 3.0
BATCH = 50

WAITING = Gauge("daas_accounts_errands_waiting", "What is decided and not carried out yet.")


class ErrandKind(str, Enum):
    """What is to be done."""

    END_LOGINS = "end_logins"
    END_SESSIONS = "end_sessions"
    NOTIFY = "notify"
    ASK_AGAIN = "ask_again"


Payload = Mapping[str, Any]
CarryOut = Callable[[Payload], Awaitable[None]]


async def leave(connection: AsyncConnection, kind: ErrandKind, payload: Payload, *, now: datetime) -> None:
    """Write an errand within this transaction."""
    await connection.execute(
        insert(errands).values(
            kind=kind.value, payload=json.dumps(dict(payload)), created_at=now, due_at=now, attempts=0
        )
    )


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Errands:
    """Carry out what was left; of each kind one after the other, so that no kind waits for another."""

    def __init__(self, engine: AsyncEngine, ways: Mapping[ErrandKind, CarryOut]) -> None:
        self._engine, self._ways = engine, dict(ways)
        self._locks = {kind: asyncio.Lock() for kind in self._ways}
        self._running: set[asyncio.Task[None]] = set()

    async def keep_running(self) -> None:
        """Carry out what is due, now and whenever something is."""
        while True:
            await self.run()
            await asyncio.sleep(LOOK_SECONDS)

    async def soon(self, seconds: float = SOON_SECONDS) -> None:
        """Carry out what is due, and wait for that a little; it goes on, and comes again, by itself."""
        task = asyncio.ensure_future(self._run_quietly())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait([task], timeout=seconds)

    async def _run_quietly(self) -> None:
        try:
            await self.run()
        except DaasError as error:
            log.warning("What is due is carried out later: %s", error.code)

    async def run(self) -> None:
        """Carry out all that is due; what fails is tried later."""
        await asyncio.gather(*(self._run_kind(kind) for kind in self._ways))
        with answering():
            async with self._engine.connect() as connection:
                WAITING.set(await connection.scalar(select(func.count()).select_from(errands)) or 0)

    async def _run_kind(self, kind: ErrandKind) -> None:
        async with self._locks[kind]:
            due = (
                select(errands)
                .where(errands.c.kind == kind.value, errands.c.due_at <= _now())
                .order_by(errands.c.id)
                .limit(BATCH)
            )
            with answering():
                async with self._engine.connect() as connection:
                    rows = (await connection.execute(due)).all()
            for row in rows:
                await self._carry_out(row)

    async def _carry_out(self, row: Any) -> None:
        try:
            await self._ways[ErrandKind(row.kind)](json.loads(row.payload))
        except DaasError as error:
            await self._later(row, error.code)
        except Exception:
            log.exception("An errand failed: kind=%s id=%s", row.kind, row.id)
            await self._later(row, "fault")
        else:
            async with writing(self._engine) as connection:
                await connection.execute(delete(errands).filter_by(id=row.id))

    async def _later(self, row: Any, code: str) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(row.attempts, 20), LONGEST_PAUSE)
        log.warning("Not carried out yet: kind=%s id=%s code=%s next in %s", row.kind, row.id, code, pause)
        async with writing(self._engine) as connection:
            await connection.execute(
                update(errands)
                .filter_by(id=row.id)
                .values(due_at=_now() + pause, attempts=errands.c.attempts + 1)
            )
