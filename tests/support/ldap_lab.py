"""The laboratory's directory: a real slapd that a test can stop, freeze and start again."""

import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.support.frozen import freeze

LAB = Path(__file__).resolve().parents[1] / "labs" / "ldap"


class LdapLab:
    """Start slapd in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "DAAS_LDAP_LAB": str(folder)}
        self.variables: dict[str, str] = {}

    def start(self) -> "LdapLab":
        """Start it, or what is not running of it."""
        done = subprocess.run(
            [LAB / "up"], env=self._environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600
        )
        words = shlex.split(done.stdout)[1:]
        self.variables = dict(word.split("=", 1) for word in words)
        return self

    def stop(self) -> None:
        """End it; the next start has the same people and the same port."""
        subprocess.run([LAB / "down"], env=self._environment, check=True, timeout=60)

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        freeze(self._pid())

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        return int((self.folder / "slapd.pid").read_text())

    @property
    def url(self) -> str:
        """Return its address."""
        return self.variables["DAAS_LDAP_URL"]

    def log(self) -> str:
        """Return what it was asked."""
        return (self.folder / "slapd.log").read_text(errors="replace")

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return what the portal configures of it."""
        known = {
            "kind": "ldap",
            "key": "directory",
            "title": "Facility directory",
            "url": self.url,
            "base": "ou=people," + self.variables["DAAS_LDAP_BASE"],
            "bind_dn": self.variables["DAAS_LDAP_BIND_DN"],
            "bind_password_file": self.variables["DAAS_LDAP_SECRET"],
            "ca_file": self.variables["DAAS_LDAP_CA"],
        }
        return {**known, **changes}
