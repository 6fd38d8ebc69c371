"""Record what happened in the audit trail without making anybody wait for it.

Nothing here delays or fails a login or a start: events wait in a bounded memory until the account service has
them. What can't be recorded is written to the log, so that it is nowhere lost in silence.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from jupyterhub_daas.core.audit import ActorKind, AuditEvent
from jupyterhub_daas.errors import DaasError, UpstreamError

log = logging.getLogger("jupyterhub_daas.audit")

CAPACITY = 2000
KEEP_SECONDS = 3600.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
CLOSE_SECONDS = 2.0


class Records(Protocol):
    """What of the account client is needed."""

    async def record(self, event: AuditEvent) -> None:
        """Add an event to the audit trail; doing so twice is harmless."""

    async def close(self) -> None:
        """Close the connections."""


class AuditRecorder:
    """Hold events and hand them on in their order, one after the other."""

    def __init__(
        self,
        client: Records,
        *,
        capacity: int = CAPACITY,
        keep_seconds: float = KEEP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._capacity, self._keep_seconds = capacity, keep_seconds
        self._clock, self._pause = clock, pause
        self._waiting: deque[tuple[float, AuditEvent]] = deque()
        self._task: asyncio.Task[None] | None = None

    def record(self, event: AuditEvent) -> None:
        """Take an event and return at once."""
        if len(self._waiting) >= self._room_for(event):
            _lost(event, "too many wait")
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            _lost(event, "nothing runs that could record it")
            return
        self._waiting.append((self._clock(), event))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._hand_on())

    def _room_for(self, event: AuditEvent) -> int:
        # Anybody can be refused at the login page as often as she likes: that must not displace the others.
        anonymous = event.actor.kind in (ActorKind.UNKNOWN, ActorKind.IDENTITY)
        return self._capacity // 2 if anonymous else self._capacity

    async def settle(self) -> None:
        """Wait until nothing waits any more."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Hand on what waits if that goes quickly; what then still waits is written to the log."""
        if self._task is None or self._task.done():
            return
        await asyncio.wait([self._task], timeout=seconds)
        self._task.cancel()
        await asyncio.wait([self._task])
        while self._waiting:
            _lost(self._waiting.popleft()[1], "the process ends")

    async def _hand_on(self) -> None:
        # Asked again after the last await: an event may have come while the connection was closed.
        while self._waiting:
            try:
                await self._hand_all_on()
            finally:
                # Rarely used: no connection is kept open for the next event.
                await self._client.close()

    async def _hand_all_on(self) -> None:
        wait = FIRST_PAUSE
        while self._waiting:
            if await self._hand_on_first():
                wait = FIRST_PAUSE
            else:
                await self._pause(wait)
                wait = min(2 * wait, LONGEST_PAUSE)

    async def _hand_on_first(self) -> bool:
        since, event = self._waiting[0]
        try:
            await self._client.record(event)
        except UpstreamError as error:
            if self._clock() - since < self._keep_seconds:
                return False
            _lost(event, error.code)
        except DaasError as error:
            _lost(event, error.code)
        except Exception:
            log.exception("An audit event could not be handed on")
            _lost(event, "fault")
        self._waiting.popleft()
        return True


def _lost(event: AuditEvent, why: str) -> None:
    log.error(
        "Not in the audit trail (%s): action=%s actor=%s object=%s outcome=%s reason=%s proposal=%s time=%s",
        why,
        event.action.value,
        event.actor.name,
        event.object.key,
        event.outcome.value,
        event.reason,
        event.proposal,
        event.time.isoformat(),
    )
