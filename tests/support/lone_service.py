"""One service as a process of its own, against whichever hub and neighbours a test gives it."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import yaml
from typing_extensions import Self

from tests.support.ports import free_port
from tests.support.stack import PYTHON
from tests.support.startup import python_variables
from tests.support.waiting import wait_until

AWAY = "http://127.0.0.1:9"
SERVICES = ("proposals", "quotas", "accounts", "lifecycle")


class LoneService:
    """Start, ask and end a service; by default its hub and all its neighbours are away."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        module: str = "",
        hub_api_url: str = f"{AWAY}/hub/api",
        service_urls: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | str = "",
        database_url: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.folder = name, folder
        self.module = module or f"jupyterhub_daas.services.{name}"
        self.prefix = f"/services/{name}/"
        self.address = f"http://127.0.0.1:{free_port()}"
        self.url = self.address + self.prefix
        content = settings if isinstance(settings, str) else yaml.safe_dump(dict(settings))
        (folder / "daas.yaml").write_text(content)
        neighbours = {
            each: f"{AWAY}/services/{each}/" for each in ("proposals", "quotas", "accounts", "lifecycle")
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            **python_variables(),
            "JUPYTERHUB_API_TOKEN": "the-services-own-token",
            "JUPYTERHUB_API_URL": hub_api_url,
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"service-{name}",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps([f"access:services!service={name}"]),
            "JUPYTERHUB_SERVICE_NAME": name,
            "JUPYTERHUB_SERVICE_PREFIX": self.prefix,
            "JUPYTERHUB_SERVICE_URL": self.address,
            "DAAS_SETTINGS": str(folder / "daas.yaml"),
            "DAAS_DATABASE_URL": database_url or f"sqlite:///{folder / name}.sqlite",
            "DAAS_SERVICE_URLS": json.dumps({**neighbours, **(service_urls or {})}),
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> Self:
        """Start the process, without waiting for it."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, "-m", self.module],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        return self

    def start(self) -> Self:
        """Start the process and wait until it answers, healthy or not."""
        self.launch()
        wait_until(self._answers, 30, what=f"{self.name} answers")
        return self

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.log()[-4000:]}")
        try:
            return requests.get(self.url + "docs", timeout=5).ok
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, *, token: str | None = None, **given: Any) -> requests.Response:
        """Ask a route of the API."""
        headers = dict(given.pop("headers", {}))
        if token:
            headers["Authorization"] = f"token {token}"
        return requests.request(method, f"{self.url}api/v1/{path}", headers=headers, timeout=30, **given)

    def health(self) -> tuple[int, dict[str, bool]]:
        """Return the status and the parts of its health."""
        answer = requests.get(self.url + "health", timeout=30)
        return answer.status_code, answer.json()["parts"]

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self.process = None
        return code

    def log(self) -> str:
        """Return what it wrote."""
        return (self.folder / "log").read_text(errors="replace")
