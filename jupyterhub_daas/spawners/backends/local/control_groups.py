"""Hold local sessions to the memory and cpus of their flavour, by Linux control groups.

Each session has a group of its own, which it enters before it runs anything, and which goes with it. Version
1 of control groups has a tree for each controller, and there the groups lie below the hub's own. Version 2
has one tree in which a group holds either processes or groups, so there they lie beside the hub's.
"""

import contextlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from jupyterhub_daas.core.catalogue import Flavour

ROOT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CONTROLLERS = ("cpu", "memory")
PERIOD = 100_000  # microseconds


class Limiting(str, Enum):
    """Whether sessions are held to their flavour: where the machine lets us, always, or never."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class NoControlGroupsError(Exception):
    """Why there are no groups for this hub."""


@dataclass(frozen=True)
class ControlGroups:
    """The groups of one hub's sessions; `folders` are the hub's, one for each controller in version 1."""

    version: int
    folders: tuple[Path, ...]

    def make(self, session_id: str, flavour: Flavour) -> None:
        """Make a session's group with its limits. Blocks."""
        limits = limits_of(flavour, self.version)
        for folder in self.folders:
            group = folder / session_id
            group.mkdir(exist_ok=True)
            for name, value in limits.items():
                # A kernel may count no swap; in version 1 each folder knows its own files only.
                if (group / name).exists():
                    (group / name).write_text(value)

    def enter(self, session_id: str, pid: int) -> None:
        """Put a process, and with it all that it will start, into a session's group. Blocks."""
        for folder in self.folders:
            (folder / session_id / "cgroup.procs").write_text(str(pid))

    def remove(self, session_id: str) -> None:
        """Remove the group of a session that has ended. Blocks."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                (folder / session_id).rmdir()

    def sweep(self) -> None:
        """Remove the groups in which nothing runs: those that an earlier hub process left. Blocks."""
        for group in self.folders[0].iterdir():
            if group.is_dir():
                self.remove(group.name)


def find_groups(hub_id: str, root: Path = ROOT, membership: Path = MEMBERSHIP) -> ControlGroups:
    """Make the folders of a hub's groups; raise NoControlGroupsError where that cannot be done. Blocks."""
    try:
        if set(CONTROLLERS) <= set(_words(root / "cgroup.controllers")):
            return _version_2(root, hub_id)
        return _version_1(root, hub_id, membership.read_text())
    except OSError as error:
        raise NoControlGroupsError(f"{error.strerror}: {error.filename}") from error


def limits_of(flavour: Flavour, version: int) -> dict[str, str]:
    """Return what is written into which file of a session's group; memory that is swapped counts."""
    quota = max(1000, round(flavour.cpus * PERIOD))
    if version == 2:
        cpu = {"cpu.max": f"{quota} {PERIOD}"} if flavour.cpus else {}
        memory = {"memory.max": str(flavour.memory), "memory.swap.max": "0"} if flavour.memory else {}
        return {**cpu, **memory}
    cpu = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(quota)} if flavour.cpus else {}
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    return {**cpu, **(dict.fromkeys(names, str(flavour.memory)) if flavour.memory else {})}


def _words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def _version_2(root: Path, hub_id: str) -> ControlGroups:
    folder = root
    for part in ("jupyterhub-daas", hub_id):
        _pass_on(folder)
        folder = folder / part
        folder.mkdir(exist_ok=True)
    _pass_on(folder)
    return ControlGroups(2, (folder,))


def _pass_on(folder: Path) -> None:
    """Have the groups below a folder hold to the controllers, too."""
    control = folder / "cgroup.subtree_control"
    if missing := [each for each in CONTROLLERS if each not in _words(control)]:
        control.write_text(" ".join(f"+{each}" for each in missing))


def _version_1(root: Path, hub_id: str, membership: str) -> ControlGroups:
    own = {}
    for line in membership.splitlines():
        _, names, path = line.split(":", 2)
        own.update(dict.fromkeys(names.split(","), path.lstrip("/")))
    folders = []
    for controller in CONTROLLERS:
        if controller not in own:
            raise NoControlGroupsError(f"the kernel has no controller '{controller}' for us")
        folder = root / controller / own[controller] / "jupyterhub-daas" / hub_id
        folder.mkdir(parents=True, exist_ok=True)
        folders.append(folder)
    return ControlGroups(1, tuple(dict.fromkeys(folders)))
