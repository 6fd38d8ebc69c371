"""A real Slurm with accounting: associations and limits, and what a person reads of them."""

import os
import pwd
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from jupyterhub_daas.errors import (
    AccessError,
    BackendUnavailableError,
    DaasError,
    NoCapacityError,
    QuotaExceededError,
)
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.slurm import SlurmBackend
from jupyterhub_daas.spawners.backends.slurm.options import Place
from tests.support.slurm_lab import SlurmLab, let_pass
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts and a database")

HUB = "476dbc1b"
MARK = secrets.token_hex(3)
MEMBER, STRANGER = f"amara-{MARK}", f"bruno-{MARK}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmLab]:
    """A Slurm with slurmdbd; one of its two people is in no account of it."""
    folder = tmp_path_factory.mktemp("slurm-limits")
    let_pass(folder)
    found = SlurmLab(folder / "lab", accounts=(MEMBER, STRANGER), database=True)
    try:
        found.start()
        found.ask("sacctmgr", "-i", "delete", "user", STRANGER)
        yield found
    finally:
        found.stop()


@pytest.fixture
async def backend(lab: SlurmLab) -> AsyncIterator[SlurmBackend]:
    """Our way to it; without limits and jobs before the test, and after it."""
    options = {"conf": lab.conf, "command_seconds": 60, "stop_seconds": 60, "start_interval_seconds": 0.5}
    yield SlurmBackend(hub_id=HUB, shared_account=False, options=options)
    lab.clean()
    unlimited = ("MaxSubmitJobs=-1", "MaxTRESPerJob=cpu=-1", "MaxWall=-1")
    lab.ask("sacctmgr", "-i", "modify", "user", MEMBER, "set", *unlimited)
    lab.ask("sacctmgr", "-i", "modify", "account", "lab", "set", "GrpTRES=cpu=-1")


def request(person: str = MEMBER, *, place: dict[str, str] | None = None) -> JobRequest:
    """Return a request for a job that waits for its end."""
    entry = pwd.getpwnam(person)
    return JobRequest(
        name=thing_name(HUB, secrets.token_hex(8)),
        account=JobAccount(person, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(person, entry.pw_gid))),
        script="#!/bin/sh\nsleep 600\n",
        cpus=2,
        memory=256,
        gpus=0,
        minutes=10,
        place=Place.model_validate(place or {}),
    )


async def waiting(backend: SlurmBackend, job_id: str, reason: str) -> Job:
    """Return a job once it waits for this reason."""

    async def found() -> Job | None:
        jobs = (await backend.programs.jobs()).values()
        fitting = [job for job in jobs if job.id == job_id and job.reason.startswith(reason)]
        return fitting[0] if fitting and fitting[0].phase is Phase.WAITING else None

    job = await wait_for(found, 30, what=f"job {job_id} waits for {reason}")
    assert job is not None
    return job


@pytest.mark.parametrize(
    ("person", "place", "error", "words"),
    [
        (STRANGER, {}, AccessError, "have it added"),
        (MEMBER, {"account": "nowhere"}, AccessError, "have it added"),
        (MEMBER, {"qos": "nowhere"}, AccessError, "have it added"),
        (MEMBER, {"partition": "admin"}, AccessError, "have it added"),
    ],
    ids=["no association", "wrong account", "unknown qos", "group of the partition"],
)
async def test_who_may_not_use_the_cluster_reads_whom_to_ask(
    backend: SlurmBackend, person: str, place: dict[str, str], error: type[DaasError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await backend.programs.submit(request(person, place=place))
    assert not await backend.things()


async def test_a_person_with_as_many_jobs_as_she_may_have_is_refused(
    backend: SlurmBackend, lab: SlurmLab
) -> None:
    lab.ask("sacctmgr", "-i", "modify", "user", MEMBER, "set", "MaxSubmitJobs=1")
    await backend.programs.submit(request())
    with pytest.raises(QuotaExceededError, match="as many sessions and jobs") as refused:
        await backend.programs.submit(request())
    assert refused.value.details["scope"] == "facility"


async def test_a_group_that_uses_all_it_may_waits_and_says_so(backend: SlurmBackend, lab: SlurmLab) -> None:
    lab.ask("sacctmgr", "-i", "modify", "account", "lab", "set", "GrpTRES=cpu=2")
    await backend.programs.submit(request())
    job = await waiting(backend, await backend.programs.submit(request()), "AssocGrp")
    assert "Your group on the cluster uses all" in backend.why_waiting(job)


@pytest.mark.parametrize(
    ("limit", "reason", "words"),
    [
        ("MaxTRESPerJob=cpu=1", "AssocMaxCpuPerJobLimit", "smaller flavour"),
        ("MaxWall=5", "AssocMaxWallDurationPerJobLimit", "as long as"),
    ],
)
async def test_what_a_limit_would_never_let_run_is_refused(
    backend: SlurmBackend, lab: SlurmLab, limit: str, reason: str, words: str
) -> None:
    lab.ask("sacctmgr", "-i", "modify", "user", MEMBER, "set", limit)
    job = await waiting(backend, await backend.programs.submit(request()), reason)
    with pytest.raises(NoCapacityError, match=words):
        backend.why_waiting(job)


async def test_a_database_that_is_away_holds_nothing_up(backend: SlurmBackend, lab: SlurmLab) -> None:
    lab.end("slurmdbd")
    try:
        job_id = await backend.programs.submit(request())
        jobs = await backend.programs.jobs()
        (job,) = (job for job in jobs.values() if job.id == job_id)
        await backend.programs.cancel(job)
    except BackendUnavailableError as error:
        pytest.fail(f"Slurm needs its database for that: {error}")
    finally:
        lab.mend()
