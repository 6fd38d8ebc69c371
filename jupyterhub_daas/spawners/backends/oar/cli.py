"""OAR by its programs: oarsub, oarstat, oardel, oarnodes.

OAR takes no script, shows every job's command to everybody, and hands on no environment. So the script goes
into a file of the person's own that nobody else reads, which it removes as its first act; the command holds
the path of that file.
"""

import json
import logging
import re
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jupyterhub_daas.errors import BackendError, BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.commands import Answer, Runner
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase, by_session
from jupyterhub_daas.spawners.backends.batch.transport import Transport
from jupyterhub_daas.spawners.backends.batch.words import phase_of
from jupyterhub_daas.spawners.backends.names import session_of
from jupyterhub_daas.spawners.backends.oar.options import OarOptions, Place
from jupyterhub_daas.spawners.backends.oar.words import PHASES, refusal

log = logging.getLogger("jupyterhub_daas.spawners.oar")

# How long jobs that ended are still asked for: an end has to be seen with its reason.
ENDED_SECONDS = 600
ACCEPTED = re.compile(r"^OAR_JOB_ID=([1-9][0-9]*)$", re.MULTILINE)
# oardel says so of a job that ended, or that is being ended already.
DONE = "already killed"


class OarPrograms(Transport):
    """Ask OAR by its programs, which `runner` runs."""

    def __init__(
        self,
        runner: Runner,
        options: OarOptions,
        *,
        hub_id: str,
        find_account: Callable[[str], Awaitable[JobAccount]],
    ) -> None:
        self._runner, self._options, self._hub_id = runner, options, hub_id
        self._find_account = find_account

    async def submit(self, request: JobRequest) -> str:
        """Submit a job: the script in a file of the person's, every option one word."""
        # Without a database oarsub would try for ever, and oarstat says so at once.
        await self.jobs()
        home = request.account.home or (await self._find_account(request.account.name)).home
        script = f"{home}/.{request.name}.job"
        written = await self._runner.run(
            ["/usr/bin/tee", "--", script], account=request.account, stdin=request.script
        )
        if written.status != 0:
            log.warning("No script for job %s: %s", request.name, written.error.strip()[:1000])
            raise BackendError(
                "Your home on the cluster takes no file. It may be full: make room there and try again."
            )
        answer = await self._runner.run(submission(request, self._options, script), account=request.account)
        accepted = ACCEPTED.search(answer.output)
        if answer.status != 0 or accepted is None:
            log.warning("OAR refused job %s: %s", request.name, answer.error.strip()[:1000])
            error = refusal(answer.status, f"{answer.output}\n{answer.error}")
            if not isinstance(error, BackendUnavailableError):
                await self._remove(script, request.account)
            # It may have taken the job, and then needs the script.
            raise error
        return accepted[1]

    async def jobs(self) -> Mapping[str, Job]:
        """List the hub's jobs, those that ended in the last minutes included."""
        since = int(time.time()) - ENDED_SECONDS
        mine = f"job_name LIKE 'daas-{self._hub_id}-%'"
        condition = f"{mine} AND (state NOT IN ('Terminated', 'Error') OR stop_time > {since})"
        answer = await self._run("oarstat", "--full", "--json", f"--sql={condition}")
        return parse_jobs(_read(answer), self._hub_id)

    async def cancel(self, job: Job) -> None:
        """Cancel a job as its owner, and remove its script if it never ran."""
        account = await self._find_account(job.account)
        answer = await self._run("oardel", job.id, account=account)
        if answer.status != 0 and DONE not in answer.error:
            log.warning("OAR does not cancel job %s: %s", job.id, answer.error.strip()[:1000])
            raise BackendUnavailableError("The cluster does not answer.")
        if job.script and job.phase is Phase.WAITING:
            await self._remove(job.script, account)

    async def nodes(self, condition: str | None) -> Mapping[str, Any]:
        """List the cluster's resources that fulfil a condition, by their number."""
        return _read(await self._run("oarnodes", "--json", f"--sql={condition or '1=1'}"))

    async def busy(self) -> frozenset[int]:
        """Return the numbers of the resources that jobs have now."""
        answer = await self._run("oarstat", "--json")
        jobs = _read(answer).values()
        return frozenset(int(number) for job in jobs for number in job.get("assigned_resources", ()))

    async def read_file(self, account: JobAccount, path: str, *, lines: int) -> str | None:
        """Return the last lines of a file as the person would read it."""
        return await self._runner.tail(path, account=account, lines=lines)

    async def _run(self, program: str, *words: str, account: JobAccount | None = None) -> Answer:
        return await self._runner.run([f"{self._options.programs}/{program}", *words], account=account)

    async def _remove(self, script: str, account: JobAccount) -> None:
        await self._runner.run(["/usr/bin/rm", "-f", "--", script], account=account)


def submission(request: JobRequest, options: OarOptions, script: str) -> list[str]:
    """Return the words of a submission of a script."""
    place = request.place
    assert isinstance(place, Place)
    resources = [f"/{options.host}=1"]
    if request.gpus:
        resources.append(f"{options.gpu}={request.gpus}")
    else:
        resources.append(f"{options.core}={cores(request.cpus, request.memory, options)}")
    walltime = f"{request.minutes // 60}:{request.minutes % 60:02}:00"
    given = {
        "name": request.name,
        "directory": "/",
        "stdout": "/dev/null",
        "stderr": "/dev/null",
        "resource": f"{'/'.join(resources)},walltime={walltime}",
        "queue": place.queue,
        "project": place.project,
        "property": place.properties,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    words.extend(f"--type={each}" for each in place.types)
    # A shell of the person's runs this, on the node.
    return [f"{options.programs}/oarsub", *words, shlex.join([options.python, "-IS", script])]


def cores(cpus: int, memory: int, options: OarOptions) -> int:
    """Return how many cores a session gets; memory in MiB."""
    if options.memory_per_core is None:
        return cpus
    return max(cpus, -(-memory // options.memory_per_core))


def _read(answer: Answer) -> dict[str, Any]:
    """Return the objects of an answer; nothing at all is said where there is none."""
    if answer.status != 0:
        log.warning("OAR does not answer: %s", answer.error.strip()[:1000])
        raise BackendUnavailableError("The cluster does not answer.")
    try:
        found = json.loads(answer.output) if answer.output.strip() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        log.warning("OAR's answer is not understood: %s", answer.output[:200])
        raise BackendUnavailableError("The cluster does not answer.")
    return found


def parse_jobs(found: Mapping[str, Any], hub_id: str) -> dict[str, Job]:
    """Return the hub's jobs in oarstat's answer; of several with one name, one that runs counts first."""
    return by_session(_parse(number, entry, hub_id) for number, entry in found.items())


def _parse(number: str, entry: Mapping[str, Any], hub_id: str) -> Job | None:
    name = str(entry.get("name") or "")
    session_id = session_of(name, hub_id)
    if not session_id:
        return None
    word, nodes = str(entry.get("state")), entry.get("assigned_network_address") or []
    phase = phase_of(word, PHASES, node=nodes)
    starts_at = _moment(entry.get("scheduledStart" if phase is Phase.WAITING else "startTime"))
    walltime = _moment(entry.get("walltime"))
    events = " ".join(str(each.get("type")) for each in entry.get("events") or [])
    return Job(
        id=number,
        session_id=session_id,
        account=str(entry.get("owner")),
        phase=phase,
        word=word,
        reason=events if phase is Phase.ENDED else str(entry.get("message") or ""),
        node=str(nodes[0]) if nodes else "",
        starts_at=starts_at,
        # Of any other job it is no promise: a suspended one runs longer by as long as it was.
        ends_at=starts_at + walltime if word == "Running" and starts_at and walltime else None,
        script=_script(str(entry.get("command") or ""), name),
    )


def _script(command: str, name: str) -> str:
    """Return the file of a job's script; empty if its command is not one of ours."""
    try:
        path = shlex.split(command)[-1]
    except (ValueError, IndexError):
        return ""
    return path if path.endswith(f"/.{name}.job") else ""


def _moment(value: object) -> float | None:
    return float(value) if isinstance(value, int) and value > 0 else None
