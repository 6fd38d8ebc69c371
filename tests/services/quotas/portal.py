"""The quotas service as a process between its neighbours."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.services.quotas.neighbours import ACCESS, OWN_TOKEN, Neighbours
from tests.services.quotas.support import asking
from tests.support.ports import free_port
from tests.support.startup import python_variables
from tests.support.waiting import wait_until

SETTINGS: dict[str, Any] = {
    "flavours": {"small": {"title": "Small", "cpus": 1, "memory": "3G", "storage": "5G"}},
    "quotas": {
        "default_flavour": "small",
        "default": {"machines": 5, "cpus": 10, "memory": "30G", "storage": "80G"},
        "roles": {"staff": {"machines": 8}},
        "groups": {"big": {"machines": 9}},
        "proposal_default": {"machines": 1000},
        "bypass": {"roles": ["admin"]},
    },
}
PREFIX = "/services/quotas/"
ID = "0123456789abcdef"
BODY: dict[str, Any] = json.loads(asking().model_dump_json())


class Quotas:
    """Start, kill and ask the service."""

    def __init__(
        self, folder: Path, neighbours: Neighbours, *, database_url: str = "", settings: Any = None
    ) -> None:
        self.folder = folder
        self.neighbours = neighbours
        self.database_url = database_url or f"sqlite:///{folder}/quotas.sqlite"
        self.url = f"http://127.0.0.1:{free_port()}{PREFIX}"
        (folder / "daas.yaml").write_text(yaml.safe_dump(settings or SETTINGS))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "Quotas":
        """Start the process; wait until it is healthy."""
        urls = {name: self.neighbours.url(name) for name in ("accounts", "proposals")}
        environment = {
            "PATH": os.environ["PATH"],
            **python_variables(),
            "JUPYTERHUB_API_TOKEN": OWN_TOKEN,
            "JUPYTERHUB_API_URL": self.neighbours.url("hub/api"),
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": "service-quotas",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([ACCESS]),
            "JUPYTERHUB_SERVICE_NAME": "quotas",
            "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
            "JUPYTERHUB_SERVICE_URL": self.url.removesuffix(PREFIX),
            "DAAS_SETTINGS": str(self.folder / "daas.yaml"),
            "DAAS_DATABASE_URL": self.database_url,
            "DAAS_SERVICE_URLS": json.dumps(urls),
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub_daas.services.quotas"],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            wait_until(self._healthy, 20, what="quotas is healthy")
        return self

    def _healthy(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(self.log())
        try:
            return requests.get(self.url + "health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self) -> int:
        """End it as the hub does; return its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(timeout=120)
        self._process = None
        return code

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=120)

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Return what the process wrote."""
        return (self.folder / "log").read_text(errors="replace")

    def call(self, method: str, path: str, *, token: str | None = "all", **given: Any) -> requests.Response:
        """Ask a route of the API."""
        headers = {"Authorization": f"token {token}"} if token else {}
        headers |= given.pop("headers", {})
        return requests.request(method, f"{self.url}api/v1/{path}", headers=headers, timeout=30, **given)


def code_of(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])
