"""Jobs as we see them. Every word of every scheduler becomes one of three phases, or nothing is known.

The name of a job carries the hub's id and the session's id, and is recorded before the job is submitted:
whatever gets lost on either side, the other one finds it by that name.
"""

from dataclasses import dataclass
from enum import Enum

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import SESSION_ID, matches
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount


class Phase(str, Enum):
    """Where a job stands; a suspended one runs."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class Job:
    """One job; `word` and `reason` are the scheduler's, moments are seconds of Unix time."""

    id: str
    session_id: str
    account: str
    phase: Phase
    word: str
    reason: str = ""
    node: str = ""
    starts_at: float | None = None
    ends_at: float | None = None


@dataclass(frozen=True)
class JobRequest:
    """A job to submit: memory in MiB, walltime in whole minutes; `place` holds the scheduler's own
    options."""

    name: str
    account: JobAccount
    script: str
    cpus: int
    memory: int
    gpus: int
    minutes: int
    place: Model


def job_name(hub_id: str, session_id: str) -> str:
    """Return the name of a session's job."""
    return f"daas-{hub_id}-{session_id}"


def session_of(name: str, hub_id: str) -> str:
    """Return the session that a job's name stands for, empty if it is not one of this hub."""
    prefix = f"daas-{hub_id}-"
    rest = name[len(prefix) :]
    return rest if name.startswith(prefix) and matches(SESSION_ID, rest) else ""
