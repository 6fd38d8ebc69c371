"""Slurm by its programs: sbatch, squeue, scancel, sinfo."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.commands import Runner
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, by_session
from jupyterhub_daas.spawners.backends.names import session_of
from jupyterhub_daas.spawners.backends.slurm import capacity
from jupyterhub_daas.spawners.backends.slurm.capacity import Node
from jupyterhub_daas.spawners.backends.slurm.options import Place
from jupyterhub_daas.spawners.backends.slurm.transport import SlurmTransport, build_job
from jupyterhub_daas.spawners.backends.slurm.words import refusal

log = logging.getLogger("jupyterhub_daas.spawners.slurm")

# The reason comes last: it is the only field in which the separator may be.
FORMAT = "%j|%i|%T|%u|%B|%S|%e|%r"


class SlurmPrograms(SlurmTransport):
    """Ask Slurm by its programs, which `runner` runs."""

    def __init__(
        self,
        runner: Runner,
        *,
        hub_id: str,
        folder: str,
        find_account: Callable[[str], Awaitable[JobAccount]],
    ) -> None:
        self._runner, self._hub_id, self._folder = runner, hub_id, folder
        self._find_account = find_account

    async def submit(self, request: JobRequest) -> str:
        """Submit a job: the script on stdin, every option one word."""
        words = submission(request, f"{self._folder}/sbatch")
        answer = await self._runner.run(words, account=request.account, stdin=request.script)
        job_id = answer.output.strip().partition(";")[0]
        if answer.status != 0 or not job_id.isdigit():
            log.warning("Slurm refused job %s: %s", request.name, answer.error.strip()[:1000])
            raise refusal(answer.error)
        return job_id

    async def jobs(self) -> Mapping[str, Job]:
        """List the hub's jobs, those that ended in the last minutes included."""
        words = [f"{self._folder}/squeue", "--noheader", "--all", "--states=all", f"--format={FORMAT}"]
        answer = await self._runner.run(words)
        if answer.status != 0:
            log.warning("Slurm does not list its jobs: %s", answer.error.strip()[:1000])
            raise BackendUnavailableError("The cluster does not answer.")
        return parse_jobs(answer.output, self._hub_id)

    async def cancel(self, job: Job) -> None:
        """Cancel a job as its owner."""
        account = await self._find_account(job.account)
        answer = await self._runner.run([f"{self._folder}/scancel", job.id], account=account)
        if answer.status != 0 and "Invalid job id" not in answer.error:
            log.warning("Slurm does not cancel job %s: %s", job.id, answer.error.strip()[:1000])
            raise BackendUnavailableError("The cluster does not answer.")

    async def nodes(self) -> tuple[Node, ...]:
        """List the cluster's nodes, once for each partition that they are in."""
        words = [f"{self._folder}/sinfo", "--noheader", "--all", "--Node", f"--Format={capacity.FORMAT}"]
        answer = await self._runner.run(words)
        if answer.status != 0:
            log.warning("Slurm does not list its nodes: %s", answer.error.strip()[:1000])
            raise BackendUnavailableError("The cluster does not answer.")
        return capacity.parse_nodes(answer.output)

    async def read_file(self, account: JobAccount, path: str, *, lines: int) -> str | None:
        """Return the last lines of a file as the person would read it."""
        return await self._runner.tail(path, account=account, lines=lines)


def submission(request: JobRequest, program: str) -> list[str]:
    """Return the words of a submission; the job gets no variable but those of Slurm."""
    place = request.place
    assert isinstance(place, Place)
    gpu = f"gpu:{place.gpu_type}" if place.gpu_type else "gpu"
    options = {
        "job-name": request.name,
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(request.cpus),
        "mem": f"{request.memory}M",
        "time": str(request.minutes),
        "gres": f"{gpu}:{request.gpus}" if request.gpus else None,
        "partition": place.partition,
        "account": place.account,
        "qos": place.qos,
        "reservation": place.slurm_reservation,
        "constraint": place.constraint,
        "chdir": "/",
        "output": "/dev/null",
        "error": "/dev/null",
        "export": "NIL",
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    # Started again by Slurm, a session would be another one at another place: it ends instead.
    return [program, "--parsable", "--no-requeue", *given]


def parse_jobs(output: str, hub_id: str) -> dict[str, Job]:
    """Return the hub's jobs in squeue's answer; of several with one name, one that runs counts first."""
    # Others' jobs, of which there may be many, are passed over first.
    own = (line for line in output.splitlines() if line.startswith(f"daas-{hub_id}-"))
    return by_session(_parse(line, hub_id) for line in own)


def _parse(line: str, hub_id: str) -> Job | None:
    name, job_id, word, account, node, start, end, reason = line.split("|", 7)
    session_id = session_of(name, hub_id)
    if not session_id:
        return None
    return build_job(
        job_id,
        session_id,
        account=account,
        word=word,
        reason=reason,
        node=node,
        starts_at=_moment(start),
        ends_at=_moment(end),
    )


def _moment(text: str) -> float | None:
    return float(text) if text.isdigit() else None
