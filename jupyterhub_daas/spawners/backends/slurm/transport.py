"""What every way to Slurm has beside the narrow one of all batch schedulers, and how its jobs are read."""

from abc import abstractmethod

from jupyterhub_daas.spawners.backends.batch.jobs import Job
from jupyterhub_daas.spawners.backends.batch.transport import Transport
from jupyterhub_daas.spawners.backends.batch.words import phase_of
from jupyterhub_daas.spawners.backends.slurm.capacity import Node
from jupyterhub_daas.spawners.backends.slurm.words import PHASES

NO_NODE = ("", "n/a", "N/A", "(null)", "None assigned")


class SlurmTransport(Transport):
    """How a hub reaches one Slurm."""

    @abstractmethod
    async def nodes(self) -> tuple[Node, ...]:
        """List the cluster's nodes, once for each partition that they are in."""


def build_job(
    job_id: str,
    session_id: str,
    *,
    account: str,
    word: str,
    reason: str,
    node: str,
    starts_at: float | None,
    ends_at: float | None,
) -> Job:
    """Return a job as Slurm tells it."""
    node = "" if node in NO_NODE else node
    return Job(
        id=job_id,
        session_id=session_id,
        account=account,
        phase=phase_of(word, PHASES, node=node),
        word=word,
        reason=reason,
        node=node,
        starts_at=starts_at,
        # Of any other job it is no promise: a suspended one runs longer by as long as it was.
        ends_at=ends_at if word == "RUNNING" else None,
    )
