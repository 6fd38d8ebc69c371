"""Build what Podman is asked for. Pure: a launch and the facility's options in, the request out.

A session has no capability, gets none by a program's setuid bit, and runs as the person with the person's
groups. What its flavour says is a limit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.proposals import Mount, MountMode
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.podman.options import PodmanOptions

Request = dict[str, Any]

PREFIX = "jupyterhub-daas"
HUB, SESSION, PERSON = f"{PREFIX}/hub", f"{PREFIX}/session", f"{PREFIX}/person"
CPUS, MEMORY = f"{PREFIX}/cpus", f"{PREFIX}/memory"
PERIOD = 100_000  # microseconds


def volume_name(hub_id: str, username: str) -> str:
    """Return the name of the volume that is a person's home."""
    return f"daas-{hub_id}-home-{username}"


def home_of(options: PodmanOptions, username: str) -> str:
    """Return where a person's home is in a session."""
    return options.home_path.replace("{username}", username)


def build_volume(launch: Launch, hub_id: str) -> Request:
    """Build the request for a person's home; it belongs to her from the first."""
    person = launch.person
    return {
        "Name": volume_name(hub_id, person.username),
        "Label": {HUB: hub_id, PERSON: person.username},
        "Options": {"o": f"uid={person.uid},gid={person.gid}"},
    }


def build_container(
    launch: Launch,
    *,
    hub_id: str,
    image: str,
    command: Sequence[str],
    options: PodmanOptions,
    environment: Mapping[str, str],
    gids: Sequence[int],
) -> Request:
    """Build the request for a session's container."""
    person = launch.person
    home = home_of(options, person.username)
    request: Request = {
        "name": thing_name(hub_id, launch.session_id),
        "image": image,
        "command": list(command),
        "env": dict(environment),
        "labels": _labels(launch, hub_id),
        "hostname": launch.session,
        "user": f"{person.uid}:{person.gid}",
        "groups": [str(gid) for gid in sorted({*gids})],
        "passwd_entry": f"{person.username}:*:{person.uid}:{person.gid}::{home}:/bin/bash",
        "work_dir": home,
        "cap_drop": ["all"],
        "no_new_privileges": True,
        "privileged": False,
        "restart_policy": "no",
        "stop_timeout": options.grace_seconds,
        "image_volume_mode": "ignore",
        "netns": {"nsmode": "bridge"},
        "Networks": {options.network: {}},
        "resource_limits": _limits(launch, options),
        "mounts": [
            *_home(options, launch, home),
            *(_bind(each.source, each.path, read_only=each.read_only) for each in options.folders),
            *(_data(each, home) for each in launch.mounts),
        ],
    }
    if options.homes is None:
        request["volumes"] = [{"Name": volume_name(hub_id, person.username), "Dest": home}]
    return request


def _labels(launch: Launch, hub_id: str) -> dict[str, str]:
    return {
        HUB: hub_id,
        SESSION: launch.session_id,
        PERSON: launch.person.username,
        f"{PREFIX}/name": launch.session,
        f"{PREFIX}/proposal": launch.proposal,
        CPUS: f"{launch.flavour.cpus:g}",
        MEMORY: str(launch.flavour.memory),
    }


def _limits(launch: Launch, options: PodmanOptions) -> Request:
    flavour = launch.flavour
    limits: Request = {"pids": {"limit": options.processes}}
    if flavour.cpus:
        limits["cpu"] = {"period": PERIOD, "quota": max(1000, round(flavour.cpus * PERIOD))}
    if flavour.memory:
        # Memory and swap together: nothing is swapped.
        limits["memory"] = {"limit": flavour.memory, "swap": flavour.memory}
    return limits


def _home(options: PodmanOptions, launch: Launch, home: str) -> list[Request]:
    if options.homes is None:
        return []
    return [_bind(f"{options.homes}/{launch.person.username}", home, read_only=False)]


def _data(mount: Mount, home: str) -> Request:
    return _bind(mount.source, f"{home}/{mount.target}", read_only=mount.mode is MountMode.READ_ONLY)


def _bind(source: str, target: str, *, read_only: bool) -> Request:
    # Never made when it is missing, and without what a file system may bring along. Recursive: a folder of
    # data may have others mounted below.
    more = ["rbind", "rprivate", "nosuid", "nodev", "ro" if read_only else "rw"]
    return {"type": "bind", "source": source, "destination": target, "options": more}
