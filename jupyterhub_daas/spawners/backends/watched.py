"""The child spawner of backends whose sessions run elsewhere and are watched from here: what all of them do.

The start has one deadline and one end; whatever fails, the backend is asked at once to end what was made.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from jupyterhub.spawner import Spawner
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode, default

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import SessionLostError, StartTimeoutError
from jupyterhub_daas.spawners.backends.news import StartNews

# Our deadline comes before that of whoever waits for us, so that the person reads why.
MARGIN_SECONDS = 1.0
CONNECT_SECONDS = 5.0


class WatchedSession(Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Start a session by `_come_up`; `poll` and `stop` are the subclass's.

    The backend has `ask_for_the_end` and `keep_log`.
    """

    backend = AnyTrait(help="The backend that built this spawner.")
    session_id = Unicode(help="The mark of all that the session has there.")
    launch = Instance(Launch, allow_none=True, help="What to start; None for a session that runs already.")

    def __init__(self, **given: Any) -> None:
        self._news = StartNews()
        super().__init__(**given)

    @default("env_keep")
    def _keep_nothing(self) -> list[str]:
        # Of the hub's own environment nothing means anything elsewhere.
        return []

    @default("ip")
    def _everywhere(self) -> str:
        return "0.0.0.0"  # in a network or on a machine of its own

    @default("poll_interval")
    def _poll_often(self) -> int:
        # All sessions share one answer, so that a look costs next to nothing.
        return 5

    @property
    def _started(self) -> Launch:
        if self.launch is None:
            raise SessionLostError("A session that runs already cannot be started again.")
        return self.launch

    async def start(self) -> str:
        """Start the session and wait until it listens; return where."""
        try:
            return await asyncio.wait_for(self._come_up(), self.start_timeout - MARGIN_SECONDS)
        except asyncio.TimeoutError:
            self._ask_for_the_end()
            raise self._too_late() from None
        except BaseException as error:
            if isinstance(error, (SessionLostError, StartTimeoutError)):
                await self.backend.keep_log(self.session_id)
            # Also when the start was cancelled: the hub waits a second only before it gives up on it.
            self._ask_for_the_end()
            raise
        finally:
            self._news.end()

    async def _come_up(self) -> str:
        """Make the session, wait until it listens and return where."""
        raise NotImplementedError

    async def _listens(self, host: str) -> bool:
        """Tell whether somebody takes a connection at the session's port."""
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, self.port), CONNECT_SECONDS)
        except (OSError, asyncio.TimeoutError):
            return False
        writer.close()
        return True

    async def poll(self) -> int | None:
        """Return None unless it is certain that the session ended; else its exit status."""
        raise NotImplementedError

    async def stop(self, now: bool = False) -> None:
        """End the session and return when nothing of it is left."""
        raise NotImplementedError

    def _too_late(self) -> StartTimeoutError:
        """Return what a person reads when the time for the whole start is over."""
        return StartTimeoutError(
            "The session did not come up in time. Please try again. If it happens twice, tell support."
        )

    def _ask_for_the_end(self) -> None:
        # Asked at once and not waited for: the hub ends the session again, and waits until it is gone.
        self._ending = asyncio.ensure_future(self.backend.ask_for_the_end(self.session_id))

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens until the start is over."""
        async for event in self._news.follow():
            yield event
