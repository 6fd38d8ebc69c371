"""Build a machine with a kernel of its own, as a compute host does: for a server whose image has one.

Its disk stands on what Glance has of the image, its config drive is made by Nova, and QEMU does without KVM:
any computer can be its host. All of it is a folder and a command, so that it can be switched on again.
"""

import os
import subprocess
import threading
from pathlib import Path

from nova.api.metadata import base as instance_metadata
from nova.image import glance
from nova.virt import configdrive

GUESTS = Path(os.environ["LAB_GUESTS"])
DISK, CONFIG = DRIVES = ("disk", "config")
WIRE = Path(__file__).with_name("wire.sh")
# What other machines stand on as well, as Nova has it beside those.
FETCHED = GUESTS.parent / "fetched"
FETCHING = threading.Lock()
# As libvirt's driver has it unless the image says otherwise.
COMMAND_LINE = "root=/dev/vda console=ttyS0"
# What numpy and others are compiled for at least; the newer ones only take time where there is no KVM.
CPU = "Nehalem"


def fetch(context, image_id: str) -> Path:
    """Return what Glance has of an image, fetched once."""
    with FETCHING:
        path = FETCHED / image_id
        if not path.exists():
            FETCHED.mkdir(mode=0o700, exist_ok=True)
            part = path.with_suffix(".part")
            glance.API().download(context, image_id, dest_path=str(part))
            part.rename(path)
        return path


def make_disk(base: Path, disk: Path, gigabytes: int) -> None:
    """Make a machine's own disk, as large as its flavor says."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, disk]
    subprocess.run(
        [*command, f"{gigabytes}G"] if gigabytes else command, check=True, stdin=subprocess.DEVNULL
    )


def make_config_drive(instance, path: Path, files, network_info) -> None:
    """Have Nova write what the machine is told of itself."""
    told = instance_metadata.InstanceMetadata(instance, content=files, network_info=network_info)
    with configdrive.ConfigDriveBuilder(instance_md=told) as builder:
        builder.make_drive(str(path))


def build(context, instance, image_meta, folder: Path, files, network_info) -> list[str]:
    """Make what a machine needs in its folder; return the command that is the machine."""
    make_disk(fetch(context, instance.image_ref), folder / DISK, instance.root_gb)
    words = [
        *("qemu-system-x86_64", "-name", instance.uuid, "-no-user-config", "-nodefaults"),
        *("-machine", "pc,accel=tcg", "-cpu", CPU),
        *("-smp", str(instance.vcpus), "-m", str(instance.memory_mb)),
        *("-display", "none", "-serial", "stdio", "-device", "virtio-rng-pci"),
        *("-kernel", str(fetch(context, instance.kernel_id))),
        *("-append", image_meta.properties.get("os_command_line") or COMMAND_LINE),
        # What a crash of this computer does to it does not matter.
        *("-drive", f"file={folder / DISK},if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
    ]
    if instance.ramdisk_id:
        words += ["-initrd", str(fetch(context, instance.ramdisk_id))]
    if configdrive.required_by(instance):
        make_config_drive(instance, folder / CONFIG, files, network_info)
        words += ["-drive", f"file={folder / CONFIG},if=ide,media=cdrom,format=raw,readonly=on"]
    for number, vif in enumerate(network_info or []):
        tap = f"do{instance.uuid[:8]}{number or ''}"
        words += ["-netdev", f"tap,id=net{number},ifname={tap},script={WIRE},downscript=no"]
        words += ["-device", f"virtio-net-pci,netdev=net{number},mac={vif['address']},romfile="]
    return words
