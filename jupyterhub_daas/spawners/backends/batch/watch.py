"""One question to the scheduler for all sessions, however many there are and however often they ask.

An answer is shared by everybody who asked before it came. Questions keep a distance, also those that fail.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from jupyterhub_daas.errors import BackendError
from jupyterhub_daas.spawners.backends.batch.jobs import Job
from jupyterhub_daas.spawners.backends.batch.transport import Transport


@dataclass(frozen=True)
class Snapshot:
    """All jobs of the hub as they were after `asked_at`, in seconds of the monotonic clock."""

    asked_at: float
    jobs: Mapping[str, Job]


class Watch:
    """Ask a transport for all jobs, at most once in `distance` seconds."""

    def __init__(self, transport: Transport, distance: float) -> None:
        self._transport, self._distance = transport, distance
        self._last: Snapshot | None = None
        self._asked_at = float("-inf")
        self._question: asyncio.Task[Snapshot] | None = None

    async def look(self, *, after: float = float("-inf"), age: float) -> Snapshot:
        """Return an answer to a question asked later than `after` and no more than `age` seconds ago."""
        while True:
            last, now = self._last, time.monotonic()
            if last is not None and last.asked_at > after and now - last.asked_at <= age:
                return last
            # One that is over may not have been put away yet: to wait for it gives the loop no turn.
            if self._question is None or self._question.done():
                self._question = asyncio.ensure_future(self._ask())
                self._question.add_done_callback(self._answered)
            found = await asyncio.shield(self._question)
            if found.asked_at > after:
                return found

    def _answered(self, question: "asyncio.Task[Snapshot]") -> None:
        if self._question is question:
            self._question = None
        # Nobody may have waited for it to the end.
        if not question.cancelled():
            question.exception()

    async def _ask(self) -> Snapshot:
        pause = self._asked_at + self._distance - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._asked_at = asked_at = time.monotonic()
        try:
            jobs = await self._transport.jobs()
        except BackendError:
            self._last = None
            raise
        self._last = Snapshot(asked_at, jobs)
        return self._last
