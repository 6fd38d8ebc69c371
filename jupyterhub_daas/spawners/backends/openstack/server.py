"""Build what the cloud is asked for. Pure: a launch and the facility's options in, the requests out.

A machine has a port and, where it boots from one, a volume of its own, made before it: with these its address
is known before it boots, and nothing that a build left behind is without our mark. Nothing of a session is in
any of them but who it is for; what the machine runs it fetches itself.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackOptions
from jupyterhub_daas.spawners.backends.openstack.words import Phase, phase

Request = dict[str, Any]

HUB, SESSION, PERSON, IMAGE = "daas-hub", "daas-session", "daas-person", "daas-image"
GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """One server as the cloud told; `fault` is Nova's own word, for the log."""

    id: str
    session_id: str
    phase: Phase
    fault: str | None
    addresses: tuple[str, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Parts:
    """What a machine is made of, by the cloud's ids; `digest` is what is known of the image's content."""

    image: str
    digest: str
    image_bytes: int
    flavor: str
    network: str
    security_groups: tuple[str, ...] = ()
    server_group: str | None = None


@dataclass(frozen=True)
class Subject:
    """What a machine is made for: a session and its person, or nobody yet. `storage` in bytes."""

    id: str
    person: str = ""
    storage: int = 0

    @classmethod
    def of(cls, launch: Launch) -> "Subject":
        """Return the subject of a session's machine."""
        return cls(launch.session_id, launch.person.username, launch.flavour.storage)


def tag_of(hub_id: str) -> str:
    """Return the mark of all that belongs to a hub, by which it is listed."""
    return f"daas-{hub_id}"


def marks_of(subject: Subject, hub_id: str) -> dict[str, str]:
    """Return what a machine and its volume are marked with. Everybody in the cloud's project reads it."""
    marks = {HUB: hub_id, SESSION: subject.id}
    return {**marks, PERSON: subject.person} if subject.person else marks


def build_port(subject: Subject, parts: Parts, hub_id: str) -> Request:
    """Build the request for a machine's port."""
    request: Request = {
        "name": thing_name(hub_id, subject.id),
        "description": tag_of(hub_id),
        "network_id": parts.network,
    }
    if parts.security_groups:
        request["security_groups"] = list(parts.security_groups)
    return request


def build_volume(subject: Subject, parts: Parts, options: OpenStackOptions, hub_id: str) -> Request:
    """Build the request for a machine's disk, as large as the flavour's storage and its image need."""
    request: Request = {
        "name": thing_name(hub_id, subject.id),
        "description": tag_of(hub_id),
        "size": max(1, math.ceil(max(subject.storage, parts.image_bytes) / GIB)),
        "imageRef": parts.image,
        "metadata": marks_of(subject, hub_id),
    }
    if options.availability_zone:
        request["availability_zone"] = options.availability_zone
    if options.volume_type:
        request["volume_type"] = options.volume_type
    return request


def build_server(
    subject: Subject,
    parts: Parts,
    options: OpenStackOptions,
    *,
    hub_id: str,
    port: str,
    volume: str | None,
    user_data: str,
) -> Request:
    """Build the request for a machine."""
    request: Request = {
        "name": thing_name(hub_id, subject.id),
        "flavor_id": parts.flavor,
        "networks": [{"port": port}],
        "metadata": {**marks_of(subject, hub_id), IMAGE: parts.digest},
        "tags": [tag_of(hub_id)],
        "user_data": base64.b64encode(user_data.encode()).decode(),
        "config_drive": options.config_drive,
    }
    if volume is None:
        request["image_id"] = parts.image
    else:
        request["block_device_mapping"] = [
            {
                "boot_index": 0,
                "uuid": volume,
                "source_type": "volume",
                "destination_type": "volume",
                "delete_on_termination": True,
            }
        ]
    if options.availability_zone:
        request["availability_zone"] = options.availability_zone
    if parts.server_group:
        request["scheduler_hints"] = {"group": parts.server_group}
    return request


def read_machine(server: Any) -> Machine:
    """Read what the SDK gives of a server."""
    addresses = [each["addr"] for entries in (server.addresses or {}).values() for each in entries]
    metadata = {str(key): str(value) for key, value in (server.metadata or {}).items()}
    power = server.power_state
    return Machine(
        id=server.id,
        session_id=metadata.get(SESSION, ""),
        phase=phase(server.status or "", int(power) if power is not None else None),
        fault=(server.fault or {}).get("message"),
        addresses=tuple(sorted(addresses)),
        metadata=metadata,
    )
