"""The demo's identity provider as a process: certified software with PKCE enforced, for real flows."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import requests

from tests.support.ports import free_port
from tests.support.stack import DEMO, node_modules
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-tests-and-of-nobody-else"


class Umbrella:
    """Play UmbrellaID; the people file is read at each use, so that a test can change or remove somebody."""

    def __init__(self, folder: Path, *, access_token_seconds: int = 60, name: str = "UmbrellaID") -> None:
        self.folder = folder
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.people = folder / "people.json"
        self._seconds = access_token_seconds
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return what the portal configures of this provider."""
        known = {"key": "umbrella", "title": self._name, "issuer": self.issuer, "client_id": "hub"}
        return {**known, "client_secret": SECRET, "scope": ["openid", "profile", "email"], **changes}

    def start(self, portal: str, *, key: str = "umbrella") -> "Umbrella":
        """Start for the portal at this address."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for script in (DEMO / "provider").glob("*.mjs"):
            shutil.copy(script, self.folder)
        (self.folder / "package.json").write_text('{"type": "module"}')
        if not (self.folder / "node_modules").exists():
            (self.folder / "node_modules").symlink_to(node_modules().resolve())
        if not self.people.exists():
            shutil.copy(DEMO / "people.json", self.people)
        client = {
            "id": "hub",
            "secret": SECRET,
            "redirect_uris": [f"{portal}/hub/auth/{key}/oauth_callback"],
            "post_logout_redirect_uris": [f"{portal}/hub/login"],
        }
        settings = {"port": self.port, "client": client, "people": str(self.people), "name": self._name}
        (self.folder / "settings.json").write_text(
            json.dumps({**settings, "access_token_seconds": self._seconds})
        )
        with (self.folder / "provider.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["node", "provider.mjs", "settings.json"],
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
            )
        wait_until(self._answers, 30, what="the identity provider answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.folder / "provider.log").read_text()[-4000:])
        try:
            return requests.get(f"{self.issuer}/.well-known/openid-configuration", timeout=2).ok
        except requests.RequestException:
            return False

    def granted(self, kind: str) -> int:
        """Return how many tokens were granted for this kind, such as ``refresh_token``, since the start."""
        return (self.folder / "provider.log").read_text().count(f"granted {kind}\n")

    def password_of(self, login: str) -> str:
        """Return somebody's password."""
        return str(self._everybody()[login]["password"])

    def subject_of(self, login: str) -> str:
        """Return somebody's subject."""
        return str(self._everybody()[login]["sub"])

    def change(self, login: str, **claims: Any) -> None:
        """Change somebody's claims."""
        everybody = self._everybody()
        everybody[login].update(claims)
        self.people.write_text(json.dumps(everybody))

    def remove(self, login: str) -> None:
        """End somebody's account at the provider."""
        everybody = self._everybody()
        del everybody[login]
        self.people.write_text(json.dumps(everybody))

    def _everybody(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self.people.read_text())
        return found

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None
