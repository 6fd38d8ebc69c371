"""Web servers for stand-ins: on the loop of a test, or in a thread and stopped while a hub runs."""

import asyncio
import ssl
import threading

from aiohttp import web
from typing_extensions import Self

from tests.support.waiting import turn_over


class Server:
    """A web server on the running loop that loses no connection when it closes."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner, self._server = runner, server
        self.port: int = server.sockets[0].getsockname()[1]

    @classmethod
    async def of(
        cls, application: web.Application, port: int = 0, trust: ssl.SSLContext | None = None
    ) -> Self:
        """Serve an application on this machine, by TLS if there is something to be trusted by."""
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(runner.server, "127.0.0.1", port, reuse_address=True, ssl=trust)
        return cls(runner, server)

    async def close(self) -> None:
        """Refuse connections, and close those that there are."""
        # asyncio loses a connection that it had only just accepted when its server closes (Python 3.11:
        # `Server._attach` fails, and nobody closes the socket), so accepting ends before
        for each in self._server.sockets:
            asyncio.get_running_loop().remove_reader(each)
        await turn_over()
        self._server.close()
        await self._runner.cleanup()
        await turn_over()


class ThreadedServer:
    """Serve the application that `application` makes."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def application(self) -> web.Application:
        """Return the application."""
        raise NotImplementedError

    def trust(self) -> ssl.SSLContext | None:
        """Return what to serve by TLS with, None for plain HTTP."""
        return None

    def start(self) -> Self:
        """Listen, on the same port as before if there was one."""
        if not self._thread.is_alive():
            self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Be away: connections are refused."""
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)
            self._server = None

    def close(self) -> None:
        """End for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await Server.of(self.application(), self.port, self.trust())
        self.port = self._server.port
