"""Sessions as containers of the lab's Podman, by a hub that is not root but may use its socket."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import SERVER
from tests.support.labs import LABS, cache
from tests.support.stack import unprivileged
from tests.support.waiting import wait_until

HUB, SESSION = "jupyterhub-daas/hub", "jupyterhub-daas/session"


@contextmanager
def held(*, alone: bool) -> Iterator[None]:
    """Keep other workers from killing or starting the lab's service meanwhile, or from using it at all."""
    path = cache() / "labs" / "podman.held"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


class PodmanLab:
    """An administrator's view of the lab."""

    def __init__(self, lab: Mapping[str, str]) -> None:
        self.variables = lab
        self.folder, self.socket = Path(lab["DAAS_PODMAN_LAB"]), Path(lab["DAAS_PODMAN_SOCKET"])
        self.open()

    def open(self) -> None:
        """Let the account of the tests' hubs use the socket."""
        os.chown(self.socket, unprivileged()[1], -1)

    def podman(self, *words: str) -> str:
        """Run podman, past its service; return what it printed."""
        environment = {**os.environ, **self.variables}
        done = subprocess.run(["podman", *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(words)}: {done.stderr}")
        return done.stdout

    def containers(self, hub_id: str, *, every: bool = True) -> list[dict[str, Any]]:
        """Return a hub's containers, those that ended too."""
        listed = self.podman(
            "ps", *(["--all"] if every else []), f"--filter=label={HUB}={hub_id}", "--format=json"
        )
        found: list[dict[str, Any]] = json.loads(listed)
        return found

    def kill(self) -> None:
        """Kill the service as a crash would."""
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not _runs(pid), 20, what="Podman's service is gone")

    def mend(self) -> None:
        """Start it again."""
        place = {"DAAS_PODMAN_LAB": str(self.folder)}
        subprocess.run([LABS / "podman" / "up"], check=True, capture_output=True, env={**os.environ, **place})
        self.open()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Podman(BackendUnderTest):
    """The lab's own containers; only this hub's are looked at."""

    name = "podman"
    lab = "podman"
    patience = 90.0

    def __init__(self, lab: Mapping[str, str]) -> None:
        super().__init__(lab)
        self.podman = PodmanLab(lab)
        self.hub_ip = lab["DAAS_PODMAN_HUB_IP"]

    def profile(self, mode: str) -> dict[str, Any]:
        """Run the small server from its text: any image with Python will do."""
        more = {"start_seconds": 10} if mode == "never" else {}
        return {
            "image": self.lab_variables["DAAS_PODMAN_BASE"],
            "allow_tag": True,
            "command": ["/usr/bin/python3", "-c", SERVER.read_text(), mode],
            **more,
        }

    def settings(self) -> dict[str, Any]:
        """Offer small sizes: a machine of two cpus runs a few of them."""
        flavours = {
            key: {"title": key.title(), "cpus": cpus, "memory": "256M", "storage": "100M"}
            for key, cpus in (("small", 0.25), ("medium", 0.5))
        }
        return {**super().settings(), "flavours": flavours}

    def options(self, folder: Path) -> dict[str, Any]:
        """Give the hub the lab's socket and network."""
        return {
            "socket": str(self.podman.socket),
            "network": self.lab_variables["DAAS_PODMAN_NETWORK"],
            "grace_seconds": 2,
        }

    def things(self, hub_id: str) -> frozenset[str]:
        """Ask Podman for containers."""
        return frozenset(each["Labels"][SESSION] for each in self.podman.containers(hub_id))

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the session's containers and their first processes."""
        return [
            (each["Id"], each["Pid"])
            for each in self.podman.containers(hub_id)
            if each["Labels"][SESSION] == session_id
        ]

    def kill(self, hub_id: str, session_id: str) -> None:
        """Remove the container as an administrator would."""
        self.podman.podman("rm", "--force", "--time=0", f"daas-{hub_id}-{session_id}")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill Podman's service: the containers run on."""
        with held(alone=True):
            self.podman.kill()
            try:
                yield
            finally:
                self.podman.mend()
