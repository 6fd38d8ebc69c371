"""Machines with a kernel of their own: the disk of images/vm, given to the lab's cloud as its README says."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.labs import LABS
from tests.support.openstack_lab import OpenStackLab

COMMAND_LINE = "root=LABEL=root rw console=ttyS0"


def install_host() -> None:
    """Install what the lab's compute host needs for them."""
    _run(LABS / "openstack" / "packages")


def build_disk() -> Path:
    """Return the folder of the disk, its kernel and its initrd, made when nobody has made them yet."""
    words = dict(word.split("=", 1) for word in shlex.split(_run(LABS / "podman" / "disk")) if "=" in word)
    return Path(words["DAAS_MACHINE_DISK"])


def _run(program: Path) -> str:
    done = subprocess.run(
        [program], env={**os.environ}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def image_in_cloud(lab: OpenStackLab, disk: Path, name: str) -> Iterator[str]:
    """Give the cloud the three parts as an image; yield it pinned by its digest."""
    made: list[Any] = []

    def create(part: str, kind: str, name: str, **properties: str) -> Any:
        # Opened here: the SDK closes nothing that it opens.
        with (disk / part).open("rb") as content:
            image = lab.admin.image.create_image(
                name,
                data=content,
                container_format=kind,
                disk_format=kind,
                visibility="public",
                wait=True,
                timeout=1200,
                **properties,
            )
        made.append(image)
        return image

    try:
        kernel = create("vmlinuz", "aki", f"{name}-kernel")
        initrd = create("initrd", "ari", f"{name}-initrd")
        image = create(
            "disk.raw",
            "ami",
            name,
            kernel_id=kernel.id,
            ramdisk_id=initrd.id,
            os_command_line=COMMAND_LINE,
        )
        found = lab.admin.image.get_image(image.id)
        yield f"{name}@{found.hash_algo}:{found.hash_value}"
    finally:
        for each in made:
            lab.admin.image.delete_image(each)


@contextmanager
def flavor_in_cloud(lab: OpenStackLab, name: str, *, cpus: int, memory: int, disk: int) -> Iterator[None]:
    """Offer a size in which it boots; memory in MiB, disk in GiB."""
    flavor = lab.admin.compute.create_flavor(name=name, vcpus=cpus, ram=memory, disk=disk)
    try:
        yield
    finally:
        lab.admin.compute.delete_flavor(flavor)
