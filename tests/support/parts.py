"""The hub, quotas and accounts on a real socket, as far as lifecycle asks them.

Only for what the real ones can't be made to do: be wrong at one certain moment, start a session between two
questions, refuse to end one. That the real ones answer like this is shown by the tests with a whole portal.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.support.threaded_server import Server

Hook = Callable[[], Awaitable[None] | None]


def moment(seconds_ago: float) -> str:
    """Return a moment as it goes over the wire."""
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)).isoformat()


class Parts:
    """Keep sessions, reservations, blocks and who is `off` a proposal, and write down what was asked.

    `failing` names, by part, how it fails: away, broken, garbage or forbidden. `before` holds what a test
    does right before a question is answered.
    """

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str], dict[str, Any]] = {}
        self.reservations: dict[str, dict[str, Any]] = {}
        self.lapsed: set[str] = set()
        self.blocked: list[str] = []
        self.off: set[tuple[str, str]] = set()
        self.warned: list[dict[str, Any]] = []
        self.removed: list[str] = []
        self.asked: list[str] = []
        self.failing: dict[str, str] = {}
        self.before: dict[str, Hook] = {}
        self.keeps: set[str] = set()
        self.causes: dict[str, Any] = {}
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""
        self._server: Server | None = None

    # --- what tests set up

    def start_session(self, session_id: str, *, name: str = "brave-curie", **given: Any) -> None:
        """Have the hub run a session, in the place of one of the same name."""
        session = {
            "person": "amara",
            "name": name,
            "session_id": session_id,
            "state": "running",
            "started": moment(3600),
            "last_activity": moment(5),
            **given,
        }
        self.sessions[session["person"], name] = session

    def reserve(self, session_id: str, *, name: str = "brave-curie", **given: Any) -> None:
        """Have quotas hold something."""
        self.reservations[session_id] = {
            "session_id": session_id,
            "person": "amara",
            "proposal": "20180301",
            "session": name,
            "resources": {"machines": 1, "cpus": 1, "memory": 1, "storage": 0, "gpus": 0},
            "environment": "jupyter",
            "flavour": "small",
            "backend": "local",
            "state": "active",
            "created_at": moment(3600),
            "activated_at": moment(3590),
            **given,
        }

    def names(self) -> list[str]:
        """Return the names of the sessions that run."""
        return [name for _, name in self.sessions]

    # --- the server

    async def start(self) -> None:
        """Listen."""
        app = web.Application(middlewares=[self._fail_as_told])
        app.router.add_get("/hub/api/", self._root)
        app.router.add_post("/hub/daas/reconcile", self._report)
        app.router.add_post("/hub/daas/warnings", self._warnings)
        app.router.add_post("/services/proposals/api/v1/memberships", self._memberships)
        app.router.add_get("/hub/api/users/{person}/servers/{name}", self._session)
        app.router.add_delete("/hub/api/users/{person}/servers/{name}", self._end)
        app.router.add_get("/services/quotas/api/v1/reservations", self._reservations)
        app.router.add_patch("/services/quotas/api/v1/reservations/{id}", self._activate)
        app.router.add_delete("/services/quotas/api/v1/reservations/{id}", self._release)
        app.router.add_get("/services/accounts/api/v1/blocked", self._blocked)
        self._server = await Server.of(app)
        self.url = f"http://127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        """Be gone."""
        if self._server is not None:
            await self._server.close()

    @web.middleware
    async def _fail_as_told(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        part = "hub" if request.path.startswith("/hub") else request.path.split("/")[2]
        question = f"{request.method} {request.path.rpartition('/')[2]}"
        self.asked.append(f"{part}: {question}")
        how = self.failing.get(f"{part} {question}") or self.failing.get(part)
        if how == "away":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if how == "broken":
            return web.json_response({"error": {"code": "internal", "message": "No."}}, status=500)
        if how == "garbage":
            return web.Response(text="<html>not what was asked for", content_type="text/html")
        if how == "forbidden":
            return web.json_response({"status": 403, "message": "No."}, status=403)
        if question in self.before and (outcome := self.before[question]()) is not None:
            await outcome
        return await handler(request)

    async def _warnings(self, request: web.Request) -> web.Response:
        self.warned = (await request.json())["items"]
        return web.Response(status=204)

    async def _memberships(self, request: web.Request) -> web.Response:
        items = (await request.json())["items"]
        held = [each for each in items if (each["username"], each["proposal"]) not in self.off]
        return web.json_response({"items": held})

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "6.1.1"})

    async def _report(self, request: web.Request) -> web.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return web.json_response({"sessions": list(self.sessions.values()), "removed": self.removed})

    def _found(self, request: web.Request) -> tuple[str, str]:
        key = request.match_info["person"], request.match_info["name"]
        if key not in self.sessions:
            raise web.HTTPNotFound(text='{"status": 404, "message": "No such server."}')
        return key

    async def _session(self, request: web.Request) -> web.Response:
        session = self.sessions[self._found(request)]
        return web.json_response({"name": session["name"], "started": session["started"]})

    async def _end(self, request: web.Request) -> web.Response:
        key = self._found(request)
        if key[1] in self.keeps:
            return web.json_response({"status": 400, "message": "It is being renamed."}, status=400)
        self.causes[key[1]] = (await request.json()).get("cause")
        session = self.sessions.pop(key)
        self.reservations.pop(session["session_id"], None)
        return web.Response(status=204)

    async def _reservations(self, request: web.Request) -> web.Response:
        person = request.query.get("person")
        items = [each for each in self.reservations.values() if person in (None, each["person"])]
        return web.json_response({"items": items, "total": len(items)})

    async def _activate(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        if session_id in self.lapsed:
            self.reserve(session_id)
        if session_id not in self.reservations:
            error = {"code": "not_found", "message": "There is no such reservation.", "field": None}
            return web.json_response({"error": error}, status=404)
        self.reservations[session_id] |= {"state": "active", "activated_at": moment(0)}
        return web.json_response(self.reservations[session_id])

    async def _release(self, request: web.Request) -> web.Response:
        self.reservations.pop(request.match_info["id"], None)
        return web.Response(status=204)

    async def _blocked(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.blocked})
