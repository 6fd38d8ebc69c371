"""The child spawner of the Podman backend: one container per session.

A session runs as long as its container does. When that has ended, its log is kept for a while and the
container removed before anybody is told.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from jupyterhub.spawner import Spawner
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode, default

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import BackendUnavailableError, SessionLostError, StartTimeoutError

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.podman.backend import Ended, PodmanBackend

CONNECT_SECONDS = 5.0
# How often a container that does not listen yet is asked whether it still runs.
LOOK_SECONDS = 1.0
# Our deadline comes before that of whoever waits for us, so that the person reads why.
MARGIN_SECONDS = 1.0


class PodmanSession(Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Start, watch and end the container of one session."""

    backend = AnyTrait(help="The PodmanBackend that built this spawner.")
    session_id = Unicode(help="The tag of the session's container.")
    launch = Instance(Launch, allow_none=True, help="What to start; None for a session that runs already.")

    def __init__(self, **given: Any) -> None:
        self._words: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        self._since = 0.0
        super().__init__(**given)

    @default("env_keep")
    def _keep_nothing(self) -> list[str]:
        # Of the hub's own environment nothing means anything in a container.
        return []

    @default("ip")
    def _everywhere(self) -> str:
        return "0.0.0.0"  # in the container's own network

    @default("poll_interval")
    def _poll_often(self) -> int:
        # All sessions share one question.
        return 5

    @property
    def _podman(self) -> "PodmanBackend":
        return cast("PodmanBackend", self.backend)

    @property
    def _started(self) -> Launch:
        if self.launch is None:
            raise SessionLostError("A session that runs already cannot be started again.")
        return self.launch

    # --- the start

    async def start(self) -> str:
        """Start the session and wait until it listens; return where."""
        try:
            return await asyncio.wait_for(self._come_up(), self.start_timeout - MARGIN_SECONDS)
        except asyncio.TimeoutError:
            self._ask_for_the_end()
            raise StartTimeoutError(
                "The session did not come up in time. Please try again. If it happens twice, tell support."
            ) from None
        except BaseException:
            # Also when the start was cancelled: the hub waits a second only before it gives up on it.
            self._ask_for_the_end()
            raise
        finally:
            self._words.put_nowait(None)

    def _ask_for_the_end(self) -> None:
        # Asked at once and not waited for: the hub ends the session again, and waits until it is gone.
        self._ending = asyncio.ensure_future(self._podman.ask_for_the_end(self.session_id))

    async def _come_up(self) -> str:
        self._words.put_nowait((55, "Making the container"))
        await self._podman.begin(self, self._started)
        self._since = asyncio.get_running_loop().time()
        self._words.put_nowait((75, "The container runs"))
        return await self._wait_until_it_listens()

    async def _wait_until_it_listens(self) -> str:
        loop, pause, host, asked = asyncio.get_running_loop(), 0.05, "", float("-inf")
        while True:
            if loop.time() - asked >= LOOK_SECONDS:
                asked, host = loop.time(), await self._address()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, self.port), CONNECT_SECONDS)
                writer.close()
                return f"http://{host}:{self.port}"
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 0.25)

    async def _address(self) -> str:
        """Return the address of the container; raise if it has ended."""
        found = await self._podman.look(self.session_id)
        if isinstance(found, str):
            return found
        if found is None:
            raise SessionLostError("The session ended while it was starting: somebody removed it.")
        await self._podman.keep_log(self.session_id)
        self._note(found)
        raise SessionLostError(f"{found.words} Its log is below Details.", status=found.status)

    def _note(self, ended: "Ended") -> None:
        self.log.warning("Session %s ended with status %d: %s", self.session_id, ended.status, ended.words)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens until the start is over."""
        while (word := await self._words.get()) is not None:
            yield {"progress": word[0], "message": word[1]}

    # --- life and end

    async def poll(self) -> int | None:
        """Return None unless Podman says that the session ended; then nothing of it is left."""
        try:
            if await self._podman.runs(self.session_id, since=self._since):
                return None
            found = await self._podman.look(self.session_id)
            if found is None:
                return 1
            if isinstance(found, str):
                if found:
                    return None
                # Made by a hub that was killed before it began it: nobody will.
                await self._podman.remove(self.session_id)
                return 1
            self._note(found)
            await self._podman.keep_log(self.session_id)
            await self._podman.remove(self.session_id)
        except BackendUnavailableError:
            # Unknown is not ended.
            return None
        return found.status

    async def stop(self, now: bool = False) -> None:
        """End the session and return when nothing of it is left, however long Podman is away."""
        await self._podman.end(self.session_id, now=now)

    async def get_url(self) -> str:
        """Return where the session is reached: what Podman says, if it answers."""
        with contextlib.suppress(BackendUnavailableError):
            host = await self._podman.look(self.session_id)
            if host and isinstance(host, str):
                return f"http://{host}:{self.port}{self.server.base_url}"
        return str(await super().get_url())

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs: the name follows from the session id."""
        return {**super().get_state(), "port": self.port}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        if state.get("port"):
            self.port = int(state["port"])
