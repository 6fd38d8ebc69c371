"""Podman's own API over its socket. Whoever may use that socket is as good as root on its machine."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from jupyterhub_daas.errors import BackendUnavailableError

# Of Podman 4; later ones go on to answer it.
API = "http://podman/v4.0.0/libpod/"


class Refused(Exception):  # noqa: N818 - it is no error of ours until somebody makes it one
    """Podman said no; its words are for the log."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status, self.words = status, words

    @property
    def is_missing(self) -> bool:
        """Tell whether what was asked about is not there; while a container is removed that is no 404."""
        return self.status == 404 or "no such container" in self.words


class Podman:
    """Ask one Podman service."""

    def __init__(self, socket: str, seconds: float) -> None:
        self._socket, self._seconds = socket, seconds

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        """Send a request; return the JSON of its answer, None if it has none. Raise Refused for a no."""
        content = await self.read(method, path, query=query, body=body)
        try:
            return json.loads(content) if content.strip() else None
        except ValueError as error:
            raise BackendUnavailableError("Podman does not answer in a way that is known.") from error

    async def read(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> bytes:
        """Send a request and return the answer as it is."""
        # A socket of this machine: a connection for each question costs nothing and is never stale.
        connector, timeout = aiohttp.UnixConnector(self._socket), aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
                http.request(method, API + path, params=query, json=body) as response,
            ):
                content = await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise BackendUnavailableError("Podman does not answer now.") from error
        if response.status >= 400:
            raise Refused(response.status, _words(content))
        return content


def _words(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")


def join_log(stream: bytes) -> str:
    """Return the text of a log as Podman sends it: frames with a head of eight bytes."""
    text, rest = b"", stream
    while len(rest) >= 8:
        size = int.from_bytes(rest[4:8], "big")
        text, rest = text + rest[8 : 8 + size], rest[8 + size :]
    return text.decode(errors="replace")
