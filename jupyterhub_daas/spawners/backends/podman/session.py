"""The child spawner of the Podman backend: one container per session.

A session runs as long as its container does. When that has ended, its log is kept for a while and the
container removed before anybody is told.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from jupyterhub_daas.errors import BackendUnavailableError, SessionLostError
from jupyterhub_daas.spawners.backends.watched import WatchedSession

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.podman.backend import Ended, PodmanBackend

# How often a container that does not listen yet is asked whether it still runs.
LOOK_SECONDS = 1.0


class PodmanSession(WatchedSession):
    """Start, watch and end the container of one session."""

    def __init__(self, **given: Any) -> None:
        self._since = 0.0
        super().__init__(**given)

    @property
    def _podman(self) -> "PodmanBackend":
        return cast("PodmanBackend", self.backend)

    # --- the start

    async def _come_up(self) -> str:
        self._news.say(55, "Making the container")
        await self._podman.begin(self, self._started)
        self._since = asyncio.get_running_loop().time()
        self._news.say(75, "The container runs")
        return await self._wait_until_it_listens()

    async def _wait_until_it_listens(self) -> str:
        loop, pause, host, asked = asyncio.get_running_loop(), 0.05, "", float("-inf")
        while True:
            if loop.time() - asked >= LOOK_SECONDS:
                asked, host = loop.time(), await self._address()
            # Without an address this machine itself would be asked. Looked at again: the address of a
            # container that has ended may be another's by now.
            if host and await self._listens(host) and host == await self._address():
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
        self._note(found)
        raise SessionLostError(f"{found.words} Its log is below Details.", status=found.status)

    def _note(self, ended: "Ended") -> None:
        self.log.warning("Session %s ended with status %d: %s", self.session_id, ended.status, ended.words)

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
