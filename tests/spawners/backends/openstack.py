"""Sessions as machines of the lab's cloud, in a project of their own, by a hub behind a proxy with TLS."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import SERVER
from tests.support.encrypted import encrypted_front, make_certificate
from tests.support.openstack_lab import SESSION, OpenStackLab
from tests.support.ports import free_port
from tests.support.stack import Stack


class OpenStack(BackendUnderTest):
    """A project with an application credential for the hub."""

    name = "openstack"
    lab = "openstack"
    daemons = ("nova", "keystone", "neutron")
    patience = 120.0

    def __init__(self, lab: Mapping[str, str]) -> None:
        super().__init__(lab)
        self.cloud = OpenStackLab(lab)
        self.tenant = self.cloud.tenant()
        self.image = self.cloud.image()
        self._fronts = ExitStack()
        self._port = 0

    def close(self) -> None:
        """Remove the project."""
        self._fronts.close()
        self.tenant.close()

    def profile(self, mode: str) -> dict[str, Any]:
        """Run the small server from its text: a machine of the lab has this computer's programs."""
        more = {"start_seconds": 10} if mode == "never" else {}
        return {
            "image": self.image,
            "command": ["/usr/bin/python3", "-c", SERVER.read_text(), mode],
            **more,
        }

    def settings(self) -> dict[str, Any]:
        """Offer the cloud's sizes."""
        flavours = {
            key: {"title": key.title(), "cpus": cpus, "memory": f"{memory}M", "storage": "1G"}
            for key, cpus, memory in (("small", 1, 128), ("medium", 2, 256))
        }
        return {**super().settings(), "flavours": flavours}

    def options(self, folder: Path) -> dict[str, Any]:
        """Give the hub its credential, and machines the certificate of the proxy in front of it."""
        _, certificate = make_certificate(folder, self.cloud.hub_ip)
        self._port = free_port()
        return {
            "cloud": "lab",
            "clouds_file": str(self.tenant.write_clouds(folder)),
            "hub_url": f"https://{self.cloud.hub_ip}:{self._port}/hub/",
            "ca_file": str(certificate),
            "network": self.lab_variables["DAAS_TEST_OS_NETWORK"],
            "shares": [{"device": f"files:{folder}/data", "path": f"{folder}/data", "options": "ro"}],
            "interval_seconds": 0.5,
            "request_seconds": 60,
        }

    def build_stack(
        self, folder: Path, *, extra: str = "", configure: Mapping[str, Any] | None = None, **settings: Any
    ) -> Stack:
        """Build the portal, and put a proxy with TLS in front of it."""
        stack = super().build_stack(folder, extra=extra, configure=configure, **settings)
        self._fronts.enter_context(encrypted_front(stack, folder, self._port, self.cloud.hub_ip))
        return stack

    def things(self, hub_id: str) -> frozenset[str]:
        """Ask the cloud for servers, and for ports that were left behind."""
        # By what they are marked with: the names of those of the hub's bank begin alike.
        mark = f"daas-{hub_id}"
        ports = {
            each.name.removeprefix(f"{mark}-") for each in self.tenant.ports() if each.description == mark
        }
        return frozenset({each.metadata[SESSION] for each in self.tenant.servers(hub_id)} | ports)

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the session's servers and their first processes."""
        return [
            (each.id, self.cloud.guest_pid(each.id))
            for each in self.tenant.servers(hub_id)
            if each.metadata[SESSION] == session_id
        ]

    def kill(self, hub_id: str, session_id: str) -> None:
        """Delete the server as an administrator would."""
        for each in self.tenant.servers(hub_id):
            if each.metadata[SESSION] == session_id:
                self.cloud.admin.compute.delete_server(each.id)

    def kill_daemon(self, daemon: str) -> None:
        """Kill one of the cloud's services."""
        self.cloud.kill(daemon)

    def mend(self) -> None:
        """Start what is dead of the cloud."""
        self.cloud.mend()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill nova: the machines run on."""
        with self.cloud.without("nova"):
            yield
