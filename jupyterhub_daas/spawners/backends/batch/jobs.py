"""Jobs as we see them. Every word of every scheduler becomes one of three phases, or nothing is known.

The name of a job carries the hub's id and the session's id, and is recorded before the job is submitted:
whatever gets lost on either side, the other one finds it by that name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount


class Phase(str, Enum):
    """Where a job stands; a suspended one runs."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class Job:
    """One job; `word` and `reason` are the scheduler's, moments are seconds of Unix time.

    `script` is the file of its script in the person's home, where the scheduler takes no script itself.
    """

    id: str
    session_id: str
    account: str
    phase: Phase
    word: str
    reason: str = ""
    node: str = ""
    starts_at: float | None = None
    ends_at: float | None = None
    script: str = ""

    @property
    def stops_at(self) -> datetime | None:
        """Return when a session has to end for the scheduler not to kill it; None where that is unknown."""
        if self.phase is not Phase.RUNNING or self.starts_at is None or self.ends_at is None:
            return None
        end = datetime.fromtimestamp(self.ends_at, timezone.utc)
        return end - margin(timedelta(seconds=max(0.0, self.ends_at - self.starts_at)))


def margin(walltime: timedelta) -> timedelta:
    """Return how long before its walltime is over a session ends in order."""
    return min(timedelta(minutes=2), walltime / 10)


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


def by_session(jobs: Iterable[Job | None]) -> dict[str, Job]:
    """Return jobs by their session; of several with one name, one that runs counts first."""
    found: dict[str, Job] = {}
    for job in jobs:
        if job is not None and (
            job.session_id not in found or _RANK[job.phase] >= _RANK[found[job.session_id].phase]
        ):
            found[job.session_id] = job
    return found


_RANK = {Phase.ENDED: 0, Phase.WAITING: 1, Phase.RUNNING: 2}
