"""A portal with a bank whose machines are those of the lab's cloud, in a project of its own."""

import os
import secrets
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.spawners.backends.openstack import OpenStack
from tests.spawners.banks import RULE, Bank
from tests.spawners.portal import Portal
from tests.support.labs import Labs
from tests.support.openstack_lab import SESSION


class CloudBank(Bank):
    """One whose machines are those of a real cloud."""

    def __init__(self, portal: Portal, lab: OpenStack, image: Any) -> None:
        super().__init__(portal)
        self._lab, self._first = lab, image
        self._next: Any = None
        self.elsewhere = lab.cloud.hub_ip

    @property
    def _mark(self) -> str:
        return f"{self.portal.hub_id}-bank"

    def there(self) -> set[str]:
        """Ask the cloud for servers."""
        return set(self._servers())

    def _servers(self) -> Mapping[str, str]:
        return {each.metadata[SESSION]: each.id for each in self._lab.tenant.servers(self._mark)}

    def made(self) -> set[str]:
        """Return the sessions that had a machine made for them."""
        servers = self._lab.tenant.servers(self.portal.hub_id)
        return {each.metadata[SESSION] for each in servers}

    def delete(self, session_id: str) -> None:
        """Delete the machine that was made for a session, as an administrator would."""
        self._lab.kill(self.portal.hub_id, session_id)

    def left(self) -> set[str]:
        """Ask for ports, too."""
        return self.there() | {each.name for each in self._lab.tenant.ports()}

    def place(self, machine_id: str) -> Path:
        """Return what the cloud's host has of a machine."""
        return self._lab.cloud.folder / "guests" / self._servers()[machine_id]

    def kill(self, machine_id: str) -> None:
        """End its first process, as Nova learns of."""
        pid = self._lab.cloud.guest_pid(self._servers()[machine_id])
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def booting(self, seconds: float) -> AbstractContextManager[None]:
        """Have machines that are made meanwhile take so long to boot."""
        return self._lab.tenant.steered(boot=seconds)

    def image(self) -> str:
        """Return the digest that Glance keeps."""
        found = self._next or self._first
        return f"{found.hash_algo}:{found.hash_value}"

    def take_first_image(self) -> None:
        """Remove the other one."""
        if self._next is not None:
            self._lab.tenant.cloud.image.delete_image(self._next)
            self._next = None
            self._look_anew()

    def take_next_image(self) -> None:
        """Upload another one under the name."""
        self._next = upload(self._lab, self._first.name, b"2")
        self._look_anew()

    def _look_anew(self) -> None:
        # What the cloud's images are is believed for minutes; a hub that starts asks.
        self.portal.stack.stop_hub()
        self.portal.stack.start_hub()


def upload(lab: OpenStack, name: str, content: bytes) -> Any:
    """Give the project an image."""
    cloud = lab.tenant.cloud
    made = cloud.create_image(name, data=content * 512, disk_format="raw", container_format="bare", wait=True)
    # What it answers at first lacks the digest.
    return cloud.image.get_image(made.id)


@contextmanager
def cloud(
    folder: Path,
    labs: Labs,
    *,
    rule: Mapping[str, Any] = RULE,
    others: Collection[str] = (),
    sizes: Collection[str] = (),
    extra: str = "",
    **settings: Any,
) -> Iterator[CloudBank]:
    """Yield a portal whose machines are those of the lab's cloud, in a project of its own.

    `others` are environments of which the bank has no machines, `sizes` further ones of the cloud's;
    `settings` replace parts of the portal's.
    """
    with closing(OpenStack(labs.up("openstack"))) as lab:
        image = f"analysis-{secrets.token_hex(4)}"
        first = upload(lab, image, b"1")
        given = lab.settings()
        profile = given["profiles"]["works"]
        options = {**profile["options"], "image": image, "allow_name": True}
        given["flavours"] |= {size: {"title": size, "cpus": 1, "memory": "128M"} for size in sizes}
        profile["flavours"] = [*given["flavours"]]
        names = ("agent", *others)
        given["environments"] = {name: {"title": name.title(), "kind": "vm"} for name in names}
        given["profiles"] = {name: {**profile, "environment": name, "options": options} for name in names}
        given["bank"] = {"agent": dict(rule)}
        stack = lab.build_stack(folder, extra=extra, **{**given, **settings})
        try:
            portal = Portal(stack.start(), things=lab.things, patience=lab.patience)
            yield CloudBank(portal, lab, first)
        finally:
            stack.stop()
            for each in lab.tenant.cloud.image.images(name=image):
                lab.tenant.cloud.image.delete_image(each.id)
