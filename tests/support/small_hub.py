"""A hub of the three calls that a machine's agent makes, behind TLS, for tests of the agent alone."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.encrypted import make_certificate
from tests.support.threaded_server import ThreadedServer


class SmallHub(ThreadedServer):
    """Answer as the hub does: the first answers are those of `first`, statuses of a hub in trouble."""

    def __init__(self, folder: Path, order: Mapping[str, Any], first: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.order, self.first = order, list(first)
        self.calls: list[tuple[str, str, Any]] = []
        self.key, self.certificate = make_certificate(folder)

    def application(self) -> web.Application:
        """Serve the three calls."""
        application = web.Application()
        application.router.add_post("/hub/daas/machines/{id}/{what}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        what = request.match_info["what"]
        self.calls.append((what, request.headers["Authorization"], await request.json()))
        if self.first:
            status = self.first.pop(0)
            return web.json_response({}, status=status, headers={"Location": "/hub/daas/machines/x/session"})
        return web.json_response(self.order if what == "session" else {})

    def trust(self) -> ssl.SSLContext:
        """Serve by the certificate that the machine is told to trust."""
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(self.certificate, self.key)
        return trust

    def said(self, what: str) -> list[Any]:
        """Return the bodies of the calls of one kind."""
        return [body for each, _, body in self.calls if each == what]
