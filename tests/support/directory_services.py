"""Stand-ins of the proposals and accounts services on a real socket, as a facility's own would answer.

The tests of the gate need each outage and each misfit answer at will; that our own services answer like
this is shown by the tests that run them.
"""

from collections import Counter
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.support.threaded_server import ThreadedServer

TOKEN = "token-of-the-hub"


class DirectoryServices(ThreadedServer):
    """Know people, their identities, proposals, blocks and roles; a test changes the attributes."""

    def __init__(self, token: str = TOKEN) -> None:
        super().__init__()
        self.token = token
        self.forget_everything()

    def forget_everything(self) -> None:
        """Know nobody, be there, and answer as the contract says."""
        self.people: dict[str, int] = {}
        self.identities: dict[tuple[str, str], str] = {}
        self.disputed: set[tuple[str, str]] = set()
        self.proposals: dict[str, int] = {}
        self.blocked: dict[str, str] = {}
        self.roles: dict[str, list[dict[str, Any]]] = {}
        self.entitled: dict[str, list[dict[str, Any]]] = {}
        self.away: set[str] = set()
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []

    @property
    def urls(self) -> dict[str, str]:
        """Return the base address of each service."""
        return {
            name: f"http://127.0.0.1:{self.port}/services/{name}/"
            for name in ("proposals", "accounts", "quotas", "lifecycle", "portal")
        }

    def know(self, username: str, *, proposals: int = 1, identity: tuple[str, str] | None = None) -> None:
        """Add a person."""
        self.people[username] = 20_000 + len(self.people)
        self.proposals[username] = proposals
        if identity is not None:
            self.identities[identity] = username

    def grant(self, username: str, role: str, expires_at: str | None = None) -> None:
        """Give a person a role."""
        self.roles.setdefault(username, []).append({"role": role, "expires_at": expires_at})

    def application(self) -> web.Application:
        """Return the routes that the gate uses."""
        app = web.Application(middlewares=[_laid_ready])
        root = "/services/{service}/api/v1"
        app.router.add_get(f"{root}/identities", self._owner)
        app.router.add_get(f"{root}/people/{{username}}", self._person)
        app.router.add_get(f"{root}/people/{{username}}/proposals", self._proposals)
        app.router.add_get(f"{root}/people/{{username}}/standing", self._standing)
        app.router.add_put(f"{root}/people/{{username}}/entitled-roles", self._entitle)
        app.router.add_post(f"{root}/audit", self._audit)
        return app

    def _enter(self, request: web.Request, what: str) -> None:
        self.asked[what] += 1
        if request.match_info["service"] in self.away:
            raise web.HTTPServiceUnavailable
        if what in self.answers:
            status, body = self.answers[what]
            raise _Answered(status, body)
        if request.headers.get("Authorization") != f"token {self.token}":
            raise _Answered(401, {"error": {"code": "unauthenticated", "message": "No."}})

    def _model(self, username: str) -> dict[str, Any]:
        uid = self.people[username]
        return {"username": username, "uid": uid, "gid": uid, "display_name": f"The person {username}"}

    async def _owner(self, request: web.Request) -> web.Response:
        self._enter(request, "owner")
        key = (request.query["issuer"], request.query["subject"])
        return web.json_response({"username": self.identities.get(key), "disputed": key in self.disputed})

    async def _person(self, request: web.Request) -> web.Response:
        self._enter(request, "person")
        username = request.match_info["username"]
        if username not in self.people:
            error = {"code": "not_found", "message": "There is nothing here for you.", "field": None}
            return web.json_response({"error": error}, status=404)
        return web.json_response(self._model(username))

    async def _proposals(self, request: web.Request) -> web.Response:
        self._enter(request, "proposals")
        total = self.proposals.get(request.match_info["username"], 0)
        items = [{"identifier": f"2018030{number}", "title": "A proposal"} for number in range(min(total, 1))]
        return web.json_response({"items": items, "total": total})

    async def _standing(self, request: web.Request) -> web.Response:
        self._enter(request, "standing")
        username = request.match_info["username"]
        reason = self.blocked.get(username)
        return web.json_response(
            {
                "username": username,
                "blocked": {"reason": reason, "since": "2018-03-01T00:00:00Z"} if reason else None,
                "conditions_version": "1",
                "conditions_accepted": False,
                "roles": [*self.roles.get(username, []), *self.entitled.get(username, [])],
            }
        )

    async def _entitle(self, request: web.Request) -> web.Response:
        self._enter(request, "entitle")
        username, body = request.match_info["username"], await request.json()
        if self.identities.get((body["identity"]["issuer"], body["identity"]["subject"])) != username:
            raise _Answered(404, {"error": {"code": "not_found", "message": "There is nothing here."}})
        before, self.entitled[username] = self.entitled.get(username, []), body["roles"]
        return web.json_response({"changed": before != body["roles"]})

    async def _audit(self, request: web.Request) -> web.Response:
        self._enter(request, "audit")
        self.events.append(await request.json())
        return web.json_response({}, status=201)


class _Answered(Exception):  # noqa: N818 -- no error: an answer that a test laid ready
    def __init__(self, status: int, body: Any) -> None:
        super().__init__()
        self.response = web.json_response(body, status=status)


@web.middleware
async def _laid_ready(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Answered as answered:
        return answered.response
