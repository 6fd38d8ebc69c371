"""The hub, *accounts* and *proposals* on a real socket, as far as *quotas* asks them.

That the real ones answer like this is shown by the tests with a whole portal; here each can be away, slow or
wrong at will.
"""

from collections import Counter
from typing import Any

from aiohttp import web

from tests.support.threaded_server import ThreadedServer

ACCESS = "access:services!service=quotas"
ALL_SCOPES = (
    "custom:daas:quotas:read",
    "custom:daas:quotas:override",
    "custom:daas:reservations:write",
    "custom:daas:usage:read",
)
OWN_TOKEN = "token-of-quotas"


class Neighbours(ThreadedServer):
    """Know tokens, people, members and roles; a test changes the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, dict[str, Any]] = {
            "all": _model("daas-hub", "service", *ALL_SCOPES),
            "none": _model("other", "service"),
            "sofia": _model("sofia", "user", *ALL_SCOPES),
            "amara": _model("amara", "user"),
            "bruno": _model("bruno", "user"),
            "elsewhere": {**_model("amara", "user"), "scopes": ["access:services!service=portal"]},
            **{scope: _model("staff", "user", scope) for scope in ALL_SCOPES},
        }
        self.people = {"amara", "bruno", "sofia", "chiara"}
        self.members: dict[str, set[str]] = {"20180301": {"amara"}, "20190417": {"bruno"}}
        self.roles: dict[str, list[str]] = {}
        self.groups: dict[str, list[str]] = {}
        self.away: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []

    def url(self, name: str) -> str:
        """Return the address of one of the three."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def application(self) -> web.Application:
        """Return the routes that *quotas* uses."""
        app = web.Application(middlewares=[self._maybe_away])
        app.router.add_get("/hub/api/user", self._user)
        app.router.add_get("/accounts/api/v1/conditions", self._conditions)
        app.router.add_post("/accounts/api/v1/audit", self._audit)
        app.router.add_get("/accounts/api/v1/people/{username}/standing", self._standing)
        app.router.add_get("/proposals/api/v1/people/{username}", self._person)
        app.router.add_get("/proposals/api/v1/proposals/{identifier}", self._proposal)
        app.router.add_post("/proposals/api/v1/memberships", self._memberships)
        return app

    @web.middleware
    async def _maybe_away(self, request: web.Request, handler: Any) -> web.StreamResponse:
        name = request.path.split("/")[1]
        self.asked[name] += 1
        if name in self.away:
            return web.Response(status=502)
        if name != "hub" and request.headers.get("Authorization") != f"token {OWN_TOKEN}":
            return web.json_response(_error("unauthenticated"), status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _user(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("token ")
        model = self.tokens.get(token)
        return web.json_response(model, status=200 if model else 403)

    async def _conditions(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "1", "title": "Conditions", "text": "Be kind."})

    async def _audit(self, request: web.Request) -> web.Response:
        self.events.append(await request.json())
        return web.json_response({}, status=201)

    async def _standing(self, request: web.Request) -> web.Response:
        username = request.match_info["username"]
        roles = [{"role": role} for role in self.roles.get(username, [])]
        return web.json_response(
            {
                "username": username,
                "blocked": None,
                "conditions_version": "1",
                "conditions_accepted": True,
                "accepted_at": "2026-01-01T00:00:00Z",
                "roles": roles,
            }
        )

    async def _person(self, request: web.Request) -> web.Response:
        username = request.match_info["username"]
        if username not in self.people:
            return web.json_response(_error("not_found"), status=404)
        return web.json_response(
            {"username": username, "uid": 2000, "gid": 2000, "groups": self.groups.get(username, [])}
        )

    async def _proposal(self, request: web.Request) -> web.Response:
        identifier = request.match_info["identifier"]
        if identifier not in self.members:
            return web.json_response(_error("not_found"), status=404)
        return web.json_response({"identifier": identifier, "title": "A proposal"})

    async def _memberships(self, request: web.Request) -> web.Response:
        asked = (await request.json())["items"]
        return web.json_response(
            {"items": [each for each in asked if each["username"] in self.members.get(each["proposal"], ())]}
        )


def _model(name: str, kind: str, *scopes: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "scopes": [ACCESS, *scopes], "admin": False, "groups": []}


def _error(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "No.", "field": None}}
