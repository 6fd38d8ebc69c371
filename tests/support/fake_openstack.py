"""A small cloud on a real socket, for answers that a healthy one cannot be made to give.

It keeps servers and ports, and hands out tokens that it can let lapse. What goes wrong is said beforehand: a
status for the next requests of a kind, an answer that gets lost after the work was done, or none at all.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from tests.support.threaded_server import ThreadedServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOST, HANGS = -1, -2


class FakeOpenStack(ThreadedServer):
    """Keystone, Nova and Neutron, as far as the backend asks them."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.logins = 0
        self.secret = "right"
        self._wrong: dict[str, deque[tuple[int, dict[str, Any], dict[str, str]]]] = {}

    # --- what a test says

    def answer_wrongly(
        self,
        request: str,
        status: int,
        *,
        times: int = 1,
        words: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer the next requests of a kind, such as `POST /compute/servers`, with a status of error."""
        body = {"error": {"message": words, "code": status}}
        self._wrong.setdefault(request, deque()).extend([(status, body, headers or {})] * times)

    def lose(self, request: str) -> None:
        """Do the work of the next request of a kind, and drop the connection instead of an answer."""
        self.answer_wrongly(request, LOST)

    def hang(self, request: str) -> None:
        """Take the next request of a kind, and say nothing."""
        self.answer_wrongly(request, HANGS)

    def let_tokens_lapse(self) -> None:
        """Know none of the tokens any more."""
        self.tokens.clear()

    def write_clouds(self, folder: Path) -> Path:
        """Write the access to it."""
        auth = {
            "auth_url": f"http://127.0.0.1:{self.port}/identity/v3",
            "application_credential_id": "hub",
            "application_credential_secret": "right",
        }
        cloud = {"auth_type": "v3applicationcredential", "region_name": "RegionOne", "auth": auth}
        path = folder / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"lab": cloud}}))
        return path

    # --- the services

    def application(self) -> web.Application:
        """Return the routes of all services."""
        application = web.Application(middlewares=[self._misbehave])
        add = application.router.add_route
        add("GET", "/identity/v3", self._identity)
        add("POST", "/identity/v3/auth/tokens", self._login)
        add("GET", "/compute/", self._compute)
        add("GET", "/compute", self._compute)
        add("GET", "/compute/servers/detail", self._list_servers)
        add("GET", "/compute/servers", self._list_servers)
        add("POST", "/compute/servers", self._make_server)
        add("DELETE", "/compute/servers/{id}", self._delete_server)
        add("GET", "/network/", self._network)
        add("GET", "/network", self._network)
        add("GET", "/network/v2.0/ports", self._list_ports)
        add("POST", "/network/v2.0/ports", self._make_port)
        add("DELETE", "/network/v2.0/ports/{id}", self._delete_port)
        return application

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        waiting = self._wrong.get(f"{request.method} {request.path}")
        status, body, headers = waiting.popleft() if waiting else (0, {}, {})
        if status == HANGS:
            await asyncio.sleep(3600)
        if status > 0:
            return web.json_response(body, status=status, headers=headers)
        known = request.headers.get("X-Auth-Token") in self.tokens
        if not request.path.startswith("/identity") and not known:
            return web.json_response({"error": {"message": "who are you?"}}, status=401)
        answer = await handler(request)
        if status == LOST and request.transport is not None:
            request.transport.abort()
        return answer

    def _url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.port}/{service}"

    async def _identity(self, request: web.Request) -> web.StreamResponse:
        links = [{"rel": "self", "href": self._url("identity/v3/")}]
        return web.json_response({"version": {"id": "v3.14", "status": "stable", "links": links}})

    async def _login(self, request: web.Request) -> web.StreamResponse:
        given = (await request.json())["auth"]["identity"]["application_credential"]
        self.logins += 1
        if given["secret"] != self.secret:
            return web.json_response({"error": {"message": "no", "code": 401}}, status=401)
        token = secrets.token_hex(8)
        self.tokens.add(token)
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "interface": "public",
                        "region": "RegionOne",
                        "region_id": "RegionOne",
                        "url": self._url(kind),
                    }
                ],
            }
            for kind in ("identity", "compute", "network")
        ]
        body = {
            "token": {
                "methods": ["application_credential"],
                "expires_at": "2099-01-01T00:00:00.000000Z",
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
                "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
                "roles": [{"id": "m", "name": "member"}],
                "catalog": catalog,
            }
        }
        return web.json_response(body, status=201, headers={"X-Subject-Token": token})

    async def _compute(self, request: web.Request) -> web.StreamResponse:
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": "2.96",
            "min_version": "2.1",
            "links": [{"rel": "self", "href": self._url("compute/")}],
        }
        return web.json_response({"version": version})

    async def _network(self, request: web.Request) -> web.StreamResponse:
        links = [{"rel": "self", "href": self._url("network/v2.0/")}]
        return web.json_response({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]})

    async def _list_servers(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"servers": list(self.servers.values())})

    async def _make_server(self, request: web.Request) -> web.StreamResponse:
        given = (await request.json())["server"]
        port = given["networks"][0]["port"]
        if any(each["port"] == port for each in self.servers.values()):
            words = {"conflictingRequest": {"message": f"Port {port} is still in use.", "code": 409}}
            return web.json_response(words, status=409)
        kept = {key: given[key] for key in ("name", "metadata", "tags", "user_data") if key in given}
        address = self.ports[port]["fixed_ips"][0]["ip_address"] if port in self.ports else "10.0.0.9"
        made = {"id": secrets.token_hex(8), "status": "ACTIVE", "port": port, **kept}
        made["addresses"] = {"daas": [{"addr": address, "version": 4}]}
        self.servers[made["id"]] = made
        return web.json_response({"server": {"id": made["id"]}}, status=202)

    async def _delete_server(self, request: web.Request) -> web.StreamResponse:
        found = self.servers.pop(request.match_info["id"], None)
        return web.Response(status=404 if found is None else 204)

    async def _list_ports(self, request: web.Request) -> web.StreamResponse:
        wanted = {key: request.query[key] for key in ("name", "description") if key in request.query}
        found = [p for p in self.ports.values() if all(p[key] == value for key, value in wanted.items())]
        return web.json_response({"ports": found})

    async def _make_port(self, request: web.Request) -> web.StreamResponse:
        made = {**(await request.json())["port"], "id": secrets.token_hex(8)}
        made["fixed_ips"] = [{"subnet_id": "s", "ip_address": f"10.0.0.{len(self.ports) + 10}"}]
        self.ports[made["id"]] = made
        return web.json_response({"port": made}, status=201)

    async def _delete_port(self, request: web.Request) -> web.StreamResponse:
        found = self.ports.pop(request.match_info["id"], None)
        return web.Response(status=404 if found is None else 204)
