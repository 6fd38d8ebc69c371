"""The proposals service as a process of its own, with a stand-in of the hub that knows a few tokens."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
import yaml
from aiohttp import web

from tests.support.ports import free_port
from tests.support.startup import python_variables
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import wait_until

ACCESS = "access:services!service=proposals"
PEOPLE = "custom:daas:people:read"
PROPOSALS = "custom:daas:proposals:read"
ISSUER = "https://umbrella.example"

FACILITY: dict[str, Any] = {
    "instruments": {
        "id21": {"title": "ID21 Microscopy", "scientists": ["chiara"]},
        "id19": {"title": "ID19 Tomography"},
    },
    "people": {
        "amara": {
            "uid": 2001,
            "gid": 200,
            "groups": ["users"],
            "display_name": "Amara Okafor",
            "email": "amara@uni.example",
            "identities": [{"issuer": ISSUER, "subject": "a1"}, {"issuer": ISSUER, "subject": "a2"}],
        },
        "bruno": {"uid": 2002, "gid": 200, "identities": [{"issuer": ISSUER, "subject": "A1"}]},
        "chiara": {"uid": 2003, "gid": 200, "display_name": "Chiara Rossi"},
        "dora": {"uid": 2004, "gid": 200},
    },
    "proposals": {
        "MA-9": {
            "title": "Épitaxie of zinc",
            "abstract": "100% of the_layers\nwith 'quotes'",
            "instruments": ["id21"],
            "state": "finished",
            "folder": "MA-9",
            "url": "https://office.example/MA-9",
            "embargo_until": "2999-01-01",
            "members": {"bruno": "principal_investigator", "amara": "member"},
            "experiments": [
                {
                    "identifier": "MA-9-1",
                    "instrument": "id21",
                    "start": "2024-05-01 08:00:00",
                    "end": "2024-05-02T08:00:00+02:00",
                }
            ],
            "datasets": [
                {"pid": "p/2", "name": "Scan 10", "path": "raw/b.h5", "size": 5, "state": "archived"},
                {"pid": "p/1", "name": "Scan 9", "path": "raw/a.h5", "state": "online"},
            ],
        },
        "MA-10": {
            "title": "Bread under strain",
            "abstract": "Zinc, never.",
            "instruments": ["id19", "id21"],
            "state": "running",
            "folder": "MA-10",
            "members": {"amara": "proposer", "chiara": "local_contact"},
        },
        "HC-1": {
            "title": "Cement",
            "instruments": ["id19"],
            "state": "closed",
            "members": {"amara": "member"},
        },
        "SECRET-1": {
            "title": "Zinc of others",
            "instruments": ["id19"],
            "folder": "SECRET-1",
            "members": {"bruno": "member"},
        },
    },
}


class StandInHub(ThreadedServer):
    """Answer whose token it is."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, dict[str, Any]] = {}

    def knows(self, token: str, name: str, *scopes: str, kind: str = "user") -> str:
        """Make a token known."""
        self.tokens[token] = {"kind": kind, "name": name, "scopes": list(scopes)}
        return token

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/hub/api/user", self._user)
        return app

    async def _user(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        if token not in self.tokens:
            return web.json_response({"status": 403, "message": "Forbidden"}, status=403)
        return web.json_response(self.tokens[token])


class ProposalsProcess:
    """Run the service on a facility file that tests rewrite."""

    def __init__(self, folder: Path, hub: StandInHub, *, database_url: str | None = None) -> None:
        self.folder = folder
        self.file = folder / "facility.yaml"
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        self._hub = hub
        self._url = database_url or f"sqlite:///{folder}/proposals.sqlite"
        self._process: subprocess.Popen[bytes] | None = None
        self.root = ""
        (folder / "daas.yaml").write_text(
            yaml.safe_dump({"directory": {"connector": "file", "file": "facility.yaml", "roots": ["data"]}})
        )

    def write(self, facility: dict[str, Any]) -> None:
        """Replace the facility file in one step."""
        self.write_text(yaml.safe_dump(facility, sort_keys=False, allow_unicode=True))

    def write_text(self, text: str) -> None:
        """Replace the facility file's text in one step."""
        new = self.folder / "new.yaml"
        new.write_text(text)
        new.replace(self.file)

    def start(self, *, healthy: bool = True) -> "ProposalsProcess":
        """Start the service, and wait until it answers."""
        self._process = self._run()
        wait_until(lambda: self.answers(200 if healthy else None), what=f"the service is up: {self.log()}")
        return self

    def run_to_end(self) -> int:
        """Run a service that will not start; return its status."""
        return self._run().wait(60)

    def _run(self) -> "subprocess.Popen[bytes]":
        port = free_port()
        self.root = f"http://127.0.0.1:{port}/services/proposals/"
        environment = {
            **os.environ,
            **python_variables(),
            "JUPYTERHUB_SERVICE_NAME": "proposals",
            "JUPYTERHUB_SERVICE_PREFIX": "/services/proposals/",
            "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{self._hub.port}/hub/api",
            "JUPYTERHUB_API_TOKEN": "the-service's-own",
            "JUPYTERHUB_CLIENT_ID": "service-proposals",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": f'["{ACCESS}"]',
            "DAAS_SETTINGS": str(self.folder / "daas.yaml"),
            "DAAS_DATABASE_URL": self._url,
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jupyterhub_daas.services.proposals"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def pid(self) -> int:
        """Return the service's process id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the service as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def answers(self, status: int | None) -> bool:
        """Tell whether health answers (with this status)."""
        try:
            answer = requests.get(self.root + "health", timeout=5)
        except requests.RequestException:
            return False
        return status is None or answer.status_code == status

    def stop(self) -> None:
        """End the service in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    def log(self) -> str:
        """Return what the service wrote."""
        return (self.folder / "log").read_text()

    def health(self) -> dict[str, Any]:
        """Return what health says."""
        content: dict[str, Any] = requests.get(self.root + "health", timeout=60).json()
        return content

    def metric(self, name: str) -> float:
        """Return a metric's value."""
        lines = requests.get(self.root + "metrics", timeout=60).text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " "))

    def get(self, path: str, token: str | None, **query: Any) -> requests.Response:
        """Ask the API."""
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.get(f"{self.root}api/v1/{path}", headers=headers, params=query, timeout=30)

    def post(self, path: str, token: str | None, body: dict[str, Any]) -> requests.Response:
        """Ask the API with a body."""
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.post(f"{self.root}api/v1/{path}", headers=headers, json=body, timeout=30)

    def identifiers(self, username: str, token: str, **query: Any) -> list[str]:
        """Return the identifiers of a list, which must be answered."""
        answer = self.get(f"people/{username}/proposals", token, **query)
        assert answer.status_code == 200, answer.text
        return [each["identifier"] for each in answer.json()["items"]]
