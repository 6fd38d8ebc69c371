"""The processes of local sessions, as the hub sees them: found by their tag and by descent, ended whole.

A session's tag is in the environment of its supervisors and of all that inherited it. What dropped the tag is
still a descendant of a supervisor. These functions read /proc and block: call them in a thread.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from jupyterhub_daas.spawners.backends.local.launcher import (
    ORDER,
    SESSION,
    descendants,
    read_environment,
    read_parents,
)

HUB = "DAAS_HUB_ID"


@dataclass(frozen=True)
class Family:
    """The living processes of a session; the supervisors are among `members`."""

    members: frozenset[int]
    supervisors: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.members)


def is_supervisor(pid: int, hub_id: str, session_id: str) -> bool:
    """Tell whether this process supervises the session: its pid may have been given to another since."""
    environment = read_environment(pid)
    return ORDER.encode() in environment and _tag(environment, hub_id) == session_id


def find_sessions(hub_id: str) -> frozenset[str]:
    """Return the ids of all sessions of this hub that have a living process."""
    found = {_tag(read_environment(pid), hub_id) for pid in read_parents()}
    return frozenset(found - {""})


def find_family(hub_id: str, session_id: str) -> Family:
    """Return all processes that carry a session's tag, and all that descend from these."""
    parents = read_parents()
    tagged, supervisors = set(), set()
    for pid in parents:
        environment = read_environment(pid)
        if _tag(environment, hub_id) == session_id:
            tagged.add(pid)
            if ORDER.encode() in environment:
                supervisors.add(pid)
    return Family(frozenset(tagged | descendants(tagged, parents)), frozenset(supervisors))


def find_guard(hub_id: str, session_id: str) -> int:
    """Return the pid of a session's outermost supervisor, 0 if there is none."""
    supervisors = find_family(hub_id, session_id).supervisors
    parents = read_parents()
    return next((pid for pid in sorted(supervisors) if parents.get(pid, 0) not in supervisors), 0)


def end_family(hub_id: str, session_id: str, *, seconds: float) -> Family:
    """Kill a session's processes until none is left; return those that would not die in the time given."""
    deadline = time.monotonic() + seconds
    while family := find_family(hub_id, session_id):
        # The supervisors last: as long as they live, whatever is forked meanwhile stays a descendant.
        for pid in family.members - family.supervisors or family.supervisors:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return family
        time.sleep(0.02)
    return family


def _tag(environment: dict[bytes, bytes], hub_id: str) -> str:
    if environment.get(HUB.encode()) != hub_id.encode():
        return ""
    return environment.get(SESSION.encode(), b"").decode(errors="replace")
