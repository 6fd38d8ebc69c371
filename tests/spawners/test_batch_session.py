"""The session of a batch scheduler: jobs are submitted in order, and one that is queued again is over."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import SessionLostError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase
from jupyterhub_daas.spawners.backends.batch.options import BatchOptions
from jupyterhub_daas.spawners.backends.batch.session import BatchSession
from jupyterhub_daas.spawners.backends.batch.transport import Transport
from jupyterhub_daas.spawners.backends.batch.watch import Watch
from jupyterhub_daas.spawners.backends.slurm.options import Place
from jupyterhub_daas.spawners.backends.ticket import Ticket
from jupyterhub_daas.spawners.turnstile import Turnstile
from tests.support.waiting import turn_over


class Scheduler(Transport):
    """A scheduler that takes longer for the first job than for the others."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.cancelled: list[str] = []
        self.phase = Phase.RUNNING
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def submit(self, request: JobRequest) -> str:
        """Take a job."""
        self.begun.set()
        if not self.taken:
            await self.go_on.wait()
        self.taken.append(request.name)
        return str(len(self.taken))

    async def jobs(self) -> Mapping[str, Job]:
        """List one job."""
        return {"5" * 16: Job("7", "5" * 16, "amara", self.phase, "WORD")}

    async def cancel(self, job: Job) -> None:
        """Note a job."""
        self.cancelled.append(job.id)


@pytest.fixture
def scheduler() -> Scheduler:
    """The scheduler."""
    return Scheduler()


@pytest.fixture
def backend(scheduler: Scheduler) -> Any:
    """Return a backend as far as its sessions' jobs are concerned."""
    return SimpleNamespace(
        transport=scheduler,
        witness=asyncio.Future,
        lookups=Turnstile(8),
        watch=Watch(scheduler, 0.01),
        submissions=asyncio.Lock(),
        options=BatchOptions(),
        why_ended=lambda _job, _when: "over",
    )


def session(backend: Any, session_id: str = "5" * 16) -> BatchSession:
    """Return a session that waits for as long as it takes."""
    found = BatchSession(backend=backend, session_id=session_id)
    found._patience = (3600.0, 3600.0)
    return found


def request(name: str) -> JobRequest:
    """Return a job of this name."""
    account = JobAccount("amara", 1000, 1000)
    return JobRequest(name, account, "#!/bin/sh\n", cpus=1, memory=1, gpus=0, minutes=1, place=Place())


async def test_jobs_are_submitted_in_the_order_of_their_starts(scheduler: Scheduler, backend: Any) -> None:
    names = [f"job-{number}" for number in range(8)]
    tasks = [asyncio.ensure_future(session(backend)._submit(request(name))) for name in names]
    await scheduler.begun.wait()
    await turn_over()
    assert scheduler.taken == []
    scheduler.go_on.set()
    assert await asyncio.gather(*tasks) == [str(number + 1) for number in range(8)]
    assert scheduler.taken == names


class Started(BatchSession):
    """A session whose job has its port as soon as it is submitted."""

    def _prepare(self, launch: Any, account: JobAccount) -> JobRequest:
        return request(account.name)

    def _keep(self) -> None: ...

    async def _wait_for_port(self) -> tuple[str, int]:
        return "127.0.0.1", 1


async def test_a_job_whose_account_is_found_late_is_still_submitted_first(
    scheduler: Scheduler, backend: Any
) -> None:
    scheduler.go_on.set()
    names = [f"job-{number}" for number in range(4)]
    found = {name: asyncio.Future[JobAccount]() for name in names}
    backend.account_of = lambda person: found[person.username]
    sessions = [Started(backend=backend, user=SimpleNamespace(name=name)) for name in names]
    for name, each in zip(names, sessions, strict=True):
        each.launch = Launch.model_construct(person=Person.model_construct(username=name))
    starts = [asyncio.ensure_future(each.start()) for each in sessions]
    for number in (3, 1, 2, 0):
        await turn_over()
        assert scheduler.taken == []
        found[names[number]].set_result(JobAccount(names[number], 1000, 1000))
    await asyncio.gather(*starts)
    assert scheduler.taken == names


async def test_a_start_that_is_given_up_before_its_turn_submits_nothing(
    scheduler: Scheduler, backend: Any
) -> None:
    first, second = session(backend), session(backend)
    tasks = [asyncio.ensure_future(each._submit(request("job"))) for each in (first, second)]
    await scheduler.begun.wait()
    second._given_up = True
    scheduler.go_on.set()
    assert await tasks[0] == "1"
    with pytest.raises(SessionLostError):
        await tasks[1]
    assert scheduler.taken == ["job"]


async def test_a_session_whose_job_waits_again_is_over(scheduler: Scheduler, backend: Any) -> None:
    """Its address would be another's, and what was in its memory is gone."""
    running = session(backend)
    running.ticket = Ticket(port=40000)
    assert await running.poll() is None
    scheduler.phase = Phase.WAITING
    # One that has not come up yet may wait.
    assert await session(backend).poll() is None
    assert scheduler.cancelled == []
    running._there_at = asyncio.get_running_loop().time()
    assert await running.poll() == 0
    assert scheduler.cancelled == ["7"]
