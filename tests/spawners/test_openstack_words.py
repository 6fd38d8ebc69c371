"""What a cloud says of machines and requests, what it has left, and what becomes of it."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import BackendError, NoCapacityError
from jupyterhub_daas.spawners.backends.openstack import capacity, words
from jupyterhub_daas.spawners.backends.openstack.capacity import Room, Size
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackOptions, OpenStackProfileOptions
from jupyterhub_daas.spawners.backends.openstack.server import (
    Parts,
    Subject,
    build_port,
    build_server,
    build_volume,
    read_machine,
)
from jupyterhub_daas.spawners.backends.openstack.words import Phase

DIGEST = "sha512:" + "ab" * 64
PINNED = f"analysis@{DIGEST}"
LAUNCH = Launch(
    session_id="0123456789abcdef",
    session="brave-curie",
    person=Person(username="amara", uid=20001, gid=20001),
    proposal="20180301",
    environment=Environment(key="jupyter", title="Jupyter", kind=EnvironmentKind.JUPYTER),
    backend="openstack",
    profile="jupyter",
    flavour=Flavour(key="small", title="Small", cpus=1, memory=1 << 30, storage=20 << 30),
)
SUBJECT = Subject.of(LAUNCH)
PARTS = Parts(image="i", digest=DIGEST, image_bytes=3 << 30, flavor="f", network="n")
OPTIONS = {"cloud": "lab", "hub_url": "https://portal.example/hub/", "network": "daas"}


def options(**more: Any) -> OpenStackOptions:
    """Return a facility's options."""
    return OpenStackOptions(**{**OPTIONS, **more})


# --- a machine's state

PHASES = {
    "is built": ("BUILD", 0, Phase.BUILDING),
    "runs": ("ACTIVE", 1, Phase.RUNNING),
    "starts again": ("REBOOT", 1, Phase.RUNNING),
    "moves": ("MIGRATING", 1, Phase.RUNNING),
    "sleeps": ("SUSPENDED", 7, Phase.RUNNING),
    "its host is away": ("UNKNOWN", 0, Phase.RUNNING),
    "is off": ("SHUTOFF", 4, Phase.ENDED),
    "was put aside": ("SHELVED_OFFLOADED", 4, Phase.ENDED),
    "could not be built": ("ERROR", 0, Phase.FAILED),
    "nothing is known of its power": ("ERROR", None, Phase.FAILED),
    "a move failed and it runs on": ("ERROR", 1, Phase.RUNNING),
    "a state of tomorrow": ("DREAMING", 1, Phase.RUNNING),
    "no state": ("", None, Phase.RUNNING),
}


@pytest.mark.parametrize(("status", "power", "expected"), PHASES.values(), ids=PHASES.keys())
def test_only_what_surely_ended_has_ended(status: str, power: int | None, expected: Phase) -> None:
    assert words.phase(status, power) is expected


def test_reads_a_server_that_says_nothing() -> None:
    server = SimpleNamespace(id="s", status=None, power_state=None, addresses=None, metadata=None, fault=None)
    found = read_machine(server)
    assert (found.phase, found.session_id, found.addresses, found.fault) == (Phase.RUNNING, "", (), None)


# --- why

FAULTS = {
    "no host": ("No valid host was found. ", True, "no room for a machine"),
    "too many tries": ("Exceeded max scheduling attempts 3 for instance", True, "no room for a machine"),
    "no address": ("No fixed IP addresses available for network: 7", True, "no address left"),
    "quota while building": ("Quota exceeded for instances", True, "is full"),
    "its disk": ("Block Device Mapping is Invalid.", False, "code openstack-volume"),
    "its image": ("Image 7 could not be found.", False, "code openstack-image"),
    "its network": ("Port binding failed for port 7", False, "code openstack-network"),
    "aborted": ("Build of instance 7 aborted: told to", False, "code openstack-build."),
    "nothing": (None, False, "code openstack-build-lost"),
    "blanks": ("  ", False, "code openstack-build-lost"),
}


@pytest.mark.parametrize(("message", "full", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_in_our_words(message: str | None, full: bool, expected: str) -> None:
    error = words.fault(message).error()
    assert expected in error.message
    assert isinstance(error, NoCapacityError) is full
    assert message is None or "7" not in error.message


REFUSALS = {
    "machines": (403, "Quota exceeded for instances: Requested 1, but already used 10 of 10", True),
    "ports": (409, "Quota exceeded for resources: ['port'].", True),
    "volumes": (413, "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded", True),
    "old clouds": (413, "Too many", True),
    "addresses": (409, "No more IP addresses available on network 7.", True),
    "no right": (403, "Policy doesn't allow os_compute_api:servers:create to be performed.", False),
    "wrong": (400, "Invalid input for field/attribute", False),
}


@pytest.mark.parametrize(("status", "text", "full"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_told_by_its_meaning(status: int, text: str, full: bool) -> None:
    error = words.refusal(status, text)
    assert isinstance(error, NoCapacityError) is full
    assert full or "code openstack-" in error.message
    assert text not in error.message


def test_a_right_that_lacks_is_told_apart() -> None:
    assert "code openstack-rights" in words.refusal(403, REFUSALS["no right"][1]).message
    assert isinstance(words.refusal(500, ""), BackendError)


# --- what is asked for


def test_builds_a_machine() -> None:
    built = build_server(SUBJECT, PARTS, options(), hub_id="hub", port="p", volume=None, user_data="#cloud")
    assert built == {
        "name": "daas-hub-0123456789abcdef",
        "image_id": "i",
        "flavor_id": "f",
        "networks": [{"port": "p"}],
        "metadata": {
            "daas-hub": "hub",
            "daas-session": "0123456789abcdef",
            "daas-person": "amara",
            "daas-image": DIGEST,
        },
        "tags": ["daas-hub"],
        "user_data": base64.b64encode(b"#cloud").decode(),
        "config_drive": True,
    }


def test_builds_a_machine_on_a_volume_in_a_group() -> None:
    parts = Parts(**{**vars(PARTS), "server_group": "g", "security_groups": ("a", "b")})
    given = options(boot_from_volume=True, volume_type="fast", availability_zone="north", config_drive=False)
    built = build_server(SUBJECT, parts, given, hub_id="hub", port="p", volume="v", user_data="#cloud")
    assert "image_id" not in built
    (disk,) = built["block_device_mapping"]
    assert (disk["uuid"], disk["source_type"], disk["delete_on_termination"]) == ("v", "volume", True)
    assert (built["scheduler_hints"], built["availability_zone"]) == ({"group": "g"}, "north")
    assert built["config_drive"] is False
    assert build_port(SUBJECT, parts, "hub")["security_groups"] == ["a", "b"]
    volume = build_volume(SUBJECT, parts, given, "hub")
    assert (volume["size"], volume["volume_type"], volume["imageRef"]) == (20, "fast", "i")


def test_a_disk_holds_its_image() -> None:
    parts = Parts(**{**vars(PARTS), "image_bytes": (25 << 30) + 1})
    assert build_volume(SUBJECT, parts, options(), "hub")["size"] == 26


# --- what is said of it


@pytest.mark.parametrize("image", ["analysis", "analysis:latest", "analysis@sha512:abc", "@" + DIGEST])
def test_an_image_is_pinned_unless_it_is_said_otherwise(image: str) -> None:
    with pytest.raises(ValidationError, match="pinned by its digest"):
        OpenStackProfileOptions(image=image)
    assert OpenStackProfileOptions(image=image, allow_name=True).image == image
    assert OpenStackProfileOptions(image=PINNED).image == PINNED


# --- what is left

FREE = (Room(10, 4), Room(20, 8), Room(4096, 1024))
SIZES = {"small": Size(1, 512), "m1.large": Size(8, 1024), "vast": Size(64, 1024)}
NAMES = {"large": "m1.large"}
COUNTS = {
    "machines": ("small", FREE, True, 6),
    "cpus, by the cloud's own name": ("large", FREE, True, 1),
    "too large": ("vast", FREE, False, 0),
    "absent": ("tiny", FREE, False, 0),
    "full": ("small", (Room(4, 4), *FREE[1:]), True, 0),
    "over its limits": ("small", (Room(4, 5), *FREE[1:]), True, 0),
    "unlimited": ("small", (Room(-1, 4), Room(-1, 0), Room(-1, 0)), True, None),
}


@pytest.mark.parametrize(("key", "limits", "fits", "free"), COUNTS.values(), ids=COUNTS.keys())
def test_counts_what_the_limits_leave(
    key: str, limits: capacity.Limits, fits: bool, free: int | None
) -> None:
    flavour = Flavour(key=key, title=key, cpus=1, memory=1)
    (found,) = capacity.count([flavour], NAMES, SIZES, limits)
    assert (found.fits, found.free) == (fits, free)
    assert bool(found.reason) is (free == 0)
