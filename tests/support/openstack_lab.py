"""The cloud of tests/labs/openstack, or another one: asked and broken as an administrator could."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openstack
import yaml
from openstack.connection import Connection

from tests.support.frozen import frozen
from tests.support.labs import LABS
from tests.support.stack import unprivileged
from tests.support.waiting import wait_until

HUB, SESSION = "daas-hub", "daas-session"
ROLES = ("member", "reader")


def connect(file: str | Path, cloud: str) -> Connection:
    """Return a connection with an entry of a clouds.yaml, and with nothing of our own environment."""
    config = openstack.config.OpenStackConfig(config_files=[str(file)], load_envvars=False)
    return Connection(config=config.get_one(cloud=cloud, api_timeout=120))


class Tenant:
    """A project of the cloud with a hub's account in it, for one user of the lab."""

    def __init__(self, lab: "OpenStackLab", name: str, **quotas: int) -> None:
        self._lab = lab
        identity, self.password = lab.admin.identity, secrets.token_urlsafe(16)
        self.project = identity.create_project(name=name, domain_id="default")
        self.user = identity.create_user(name=name, password=self.password, domain_id="default")
        for role in ROLES:
            found = identity.find_role(role, ignore_missing=False)
            identity.assign_project_role_to_user(project=self.project, user=self.user, role=found)
        lab.admin.compute.update_quota_set(self.project.id, **{"instances": 30, "cores": 60, **quotas})
        self.cloud = self._connect()
        self.credential = self._create_credential("hub")

    def _auth(self) -> dict[str, str]:
        return {"auth_url": self._lab.admin.config.auth["auth_url"]}

    def _connect(self) -> Connection:
        return openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            region_name="RegionOne",
            auth={
                **self._auth(),
                "username": self.user.name,
                "password": self.password,
                "project_id": self.project.id,
                "user_domain_id": "default",
            },
        )

    def replace_credential(self) -> None:
        """Give the hub another credential; the one that it had is good for nothing any more."""
        before = self.credential
        self.credential = self._create_credential("next")
        self.cloud.identity.delete_application_credential(self.user.id, before)

    def _create_credential(self, name: str) -> Any:
        return self.cloud.identity.create_application_credential(
            user=self.user.id, name=name, roles=[{"name": "member"}]
        )

    def write_clouds(self, folder: Path) -> Path:
        """Write the hub's access: an application credential, its secret in a file of its own."""
        cloud = {
            "auth_type": "v3applicationcredential",
            "region_name": "RegionOne",
            "auth": {**self._auth(), "application_credential_id": self.credential.id},
        }
        secret = {"auth": {"application_credential_secret": self.credential.secret}}
        path = folder / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"lab": cloud}}))
        kept = folder / "secure.yaml"
        kept.write_text(yaml.safe_dump({"clouds": {"lab": secret}}))
        kept.chmod(0o600)
        os.chown(kept, unprivileged()[1], -1)
        return path

    @contextmanager
    def steered(self, **wanted: object) -> Iterator[None]:
        """Have the project's next machines fail, take their time or be dead, as guest_driver.py says."""
        path = self._lab.folder / "steer" / self.project.id
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(wanted))
        try:
            yield
        finally:
            path.unlink()

    def servers(self, hub_id: str) -> list[Any]:
        """Return a hub's servers that are not gone."""
        listed = [each for each in self.cloud.compute.servers() if each.status != "DELETED"]
        return [each for each in listed if each.metadata.get(HUB) == hub_id]

    def ports(self) -> list[Any]:
        """Return the project's ports."""
        return list(self.cloud.network.ports(project_id=self.project.id))

    def close(self) -> None:
        """Remove all that the project has, and the project."""
        for server in self.cloud.compute.servers():
            self.cloud.compute.delete_server(server)
        wait_until(lambda: not [s for s in self.cloud.compute.servers() if s.status != "DELETED"], 60)
        for port in self.ports():
            self.cloud.network.delete_port(port)
        for volume in self.cloud.block_storage.volumes():
            with suppress(openstack.exceptions.HttpException):
                self.cloud.block_storage.delete_volume(volume)
        # By itself: what goes with its user leaves its roles behind in a SQLite, for the next of its number.
        self.cloud.identity.delete_application_credential(self.user.id, self.credential)
        self._lab.admin.identity.delete_user(self.user)
        self._lab.admin.identity.delete_project(self.project)


class OpenStackLab:
    """An administrator's view of the lab."""

    def __init__(self, lab: Mapping[str, str]) -> None:
        self.variables = lab
        self.folder = Path(lab["DAAS_TEST_LAB_FOLDER"])
        self.hub_ip = lab["DAAS_TEST_HUB_IP"]
        self.admin = connect(lab["DAAS_TEST_OS_CLIENT_CONFIG"], lab["DAAS_TEST_OS_ADMIN"])

    def tenant(self, **quotas: int) -> Tenant:
        """Make a project."""
        return Tenant(self, f"daas-{secrets.token_hex(4)}", **quotas)

    def image(self) -> str:
        """Return the lab's image, pinned by its digest."""
        found = self.admin.image.find_image(self.variables["DAAS_TEST_OS_IMAGE"], ignore_missing=False)
        return f"{found.name}@{found.hash_algo}:{found.hash_value}"

    def withdraw(self, token: str) -> None:
        """Have a token be good for nothing any more, as one whose time is over."""
        self.admin.session.delete(
            "/auth/tokens",
            endpoint_filter={"service_type": "identity", "interface": "public"},
            headers={"X-Subject-Token": token},
        )

    def guest_pid(self, server_id: str) -> int | None:
        """Return the first process of a server's machine; None if that is off."""
        with suppress(OSError, ValueError):
            pid = int((self.folder / "guests" / server_id / "pid").read_text())
            if server_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def inside(self, server_id: str, command: str, *, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell command as root inside a server's machine, with `given` on its stdin."""
        outside = self.guest_pid(server_id)
        children = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
        enter = ("nsenter", f"--target={children[0]}", "--mount", "--net", "--pid", "--root", "--wd")
        return subprocess.run(
            [*enter, "/bin/sh", "-c", command], input=given, capture_output=True, text=True, timeout=120
        )

    def user_data(self, server_id: str) -> str:
        """Return exactly the user data that a server's machine got from Nova."""
        return (self.folder / "guests" / server_id / "user_data").read_text()

    def _pid(self, daemon: str) -> int:
        return int((self.folder / "pid" / daemon).read_text())

    def kill(self, daemon: str) -> None:
        """Kill one of the lab's services as a crash would."""
        os.kill(self._pid(daemon), signal.SIGKILL)

    def mend(self) -> None:
        """Start what is dead of the lab."""
        place = {**os.environ, "DAAS_OPENSTACK_LAB": str(self.folder)}
        done = subprocess.run(
            [LABS / "openstack" / "up"], env=place, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise RuntimeError(f"the lab does not come up again:\n{done.stderr[-4000:]}")

    @contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """Have the cloud without one of its services."""
        self.kill(daemon)
        try:
            yield
        finally:
            self.mend()

    @contextmanager
    def hanging(self, daemon: str) -> Iterator[None]:
        """Have one of the services take questions and answer none."""
        with frozen(self._pid(daemon)):
            yield
