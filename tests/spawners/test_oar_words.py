"""OAR's words: what is submitted, and what becomes of its states, messages and refusals."""

from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.errors import (
    AccessError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    DaasError,
    NoCapacityError,
    QuotaExceededError,
)
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.commands import Answer, Runner
from jupyterhub_daas.spawners.backends.batch.jobs import Job, JobRequest, Phase
from jupyterhub_daas.spawners.backends.oar.capacity import count
from jupyterhub_daas.spawners.backends.oar.cli import OarPrograms, parse_jobs, submission
from jupyterhub_daas.spawners.backends.oar.options import OarOptions, OarSoftware, Place
from jupyterhub_daas.spawners.backends.oar.words import refusal, why_ended, why_waiting

HUB, SESSION = "476dbc1b", "0123456789abcdef"
NAME = f"daas-{HUB}-{SESSION}"
SCRIPT = f"/home/amara/.{NAME}.job"


def entry(state: str = "Running", **more: Any) -> dict[str, Any]:
    """Return a job as oarstat tells of it."""
    return {
        "name": NAME,
        "owner": "amara",
        "state": state,
        "message": "R=2,W=0:10:0,J=B (Karma=0.000,quota_ok)",
        "assigned_network_address": ["oar1"],
        "command": f"/usr/bin/python3 -IS {SCRIPT}",
        "startTime": 1795678607,
        "scheduledStart": 1795678600,
        "walltime": 600,
        "events": [],
        **more,
    }


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        *((word, Phase.WAITING) for word in ("Waiting", "Hold", "toLaunch", "toAckReservation", "Launching")),
        *((word, Phase.RUNNING) for word in ("Running", "Suspended", "Resuming", "Finishing")),
        *((word, Phase.ENDED) for word in ("Terminated", "toError", "Error")),
        # A word of a later OAR is no end.
        ("Teleporting", Phase.RUNNING),
    ],
)
def test_each_state_is_a_phase(word: str, phase: Phase) -> None:
    assert parse_jobs({"17": entry(word)}, HUB)[SESSION].phase is phase


def test_an_unknown_word_without_a_node_waits() -> None:
    found = parse_jobs({"17": entry("Teleporting", assigned_network_address=[])}, HUB)
    assert found[SESSION].phase is Phase.WAITING


def test_a_job_is_read_whole() -> None:
    found = parse_jobs({"17": entry()}, HUB)[SESSION]
    assert found == Job(
        id="17",
        session_id=SESSION,
        account="amara",
        phase=Phase.RUNNING,
        word="Running",
        reason="R=2,W=0:10:0,J=B (Karma=0.000,quota_ok)",
        node="oar1",
        starts_at=1795678607.0,
        ends_at=1795679207.0,
        script=SCRIPT,
    )


def test_of_one_that_is_suspended_no_end_is_known() -> None:
    assert parse_jobs({"17": entry("Suspended")}, HUB)[SESSION].ends_at is None


@pytest.mark.parametrize(
    "command", ["rm -f /home/amara/thesis", f"x '{SCRIPT}", f"/usr/bin/python3 {SCRIPT}/..", ""]
)
def test_only_our_own_script_is_ever_removed(command: str) -> None:
    assert parse_jobs({"17": entry(command=command)}, HUB)[SESSION].script == ""


def test_takes_only_the_jobs_of_this_hub() -> None:
    names = [f"daas-{HUB}0-{SESSION}", f"daas-other-{SESSION}", f"{NAME}0", f"daas-{HUB}-../..", None, ""]
    assert parse_jobs({str(number): entry(name=name) for number, name in enumerate(names)}, HUB) == {}


def test_a_living_job_counts_before_one_that_ended() -> None:
    both = [("17", entry("Error")), ("18", entry("Running"))]
    for order in (both, both[::-1]):
        assert parse_jobs(dict(order), HUB)[SESSION].id == "18"


@pytest.mark.parametrize(
    ("word", "message", "words"),
    [
        ("Waiting", "R=32 (Karma=0.000,quota_ok)", "free resources"),
        ("Waiting", "R=2,W=1:0:0", "free resources"),
        ("Waiting", "No enough matching resources (no_matching_slot)", "out of order"),
        ("Waiting", "R=2 (quota_exceeded)", "use all that you may"),
        ("Hold", "R=1", "staff holds"),
        ("Launching", "R=1", "in a moment"),
    ],
)
def test_each_wait_has_its_words(word: str, message: str, words: str) -> None:
    job = Job("17", SESSION, "amara", Phase.WAITING, word, message)
    assert words in why_waiting(job)
    assert "Expected" not in why_waiting(job)


def test_the_moment_of_the_start_is_told() -> None:
    job = parse_jobs({"17": entry("Waiting", assigned_network_address=[])}, HUB)[SESSION]
    assert "Expected to start by 26 November" in why_waiting(job)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["FRAG_JOB_REQUEST", "WALLTIME"], "time on the cluster was over"),
        (["FRAG_JOB_REQUEST"], "was cancelled"),
        ([], "program ended"),
    ],
)
def test_each_end_has_its_words(events: list[str], words: str) -> None:
    job = parse_jobs({"17": entry("Error", events=[{"type": each} for each in events])}, HUB)[SESSION]
    assert words in why_ended(job, "")


def test_an_end_that_nobody_saw_has_its_words() -> None:
    assert "while it was starting. The cluster no longer has it" in why_ended(None, "while it was starting")


@pytest.mark.parametrize(
    ("status", "text", "cls", "words"),
    [
        (8, "There are not enough resources for your request", NoCapacityError, "smaller flavour"),
        (8, 'Bad resource request (ERROR:  column "foo" does not exist', ConfigurationError, "machines"),
        (248, "ERROR : The queue nope does not exist", ConfigurationError, "not there"),
        (254, "[ADMISSION RULE] Error: unknown job type: nope", ConfigurationError, "kind of job"),
        (254, "[ADMISSION RULE] Only member of the group admin can submit", AccessError, "may not use"),
        (254, "[ADMISSION RULE] Error: not today", AccessError, "rules"),
        (254, "[ADMISSION RULE] Error: you cannot have more than 2", QuotaExceededError, "as many"),
        (9, "Cannot connect to executor", BackendUnavailableError, "does not answer"),
        (1, "sudo: a password is required", AccessError, "may not use"),
        (1, "anything else", BackendError, "refused"),
    ],
)
def test_each_refusal_is_an_error_of_ours(status: int, text: str, cls: type[DaasError], words: str) -> None:
    error = refusal(status, text)
    assert type(error) is cls
    assert words in error.message
    assert text not in error.message


def request(**more: Any) -> JobRequest:
    """Return a job to submit."""
    given: dict[str, Any] = {
        "name": NAME,
        "account": JobAccount("amara", 20001, 20001),
        "script": "",
        "cpus": 2,
        "memory": 3072,
        "gpus": 0,
        "minutes": 485,
        "place": Place(),
        **more,
    }
    return JobRequest(**given)


USUAL = [f"--name={NAME}", "--directory=/", "--stdout=/dev/null", "--stderr=/dev/null"]


def test_a_submission_word_by_word() -> None:
    words = submission(request(), OarOptions(), SCRIPT)
    resource = "--resource=/host=1/core=2,walltime=8:05:00"
    assert words == ["/usr/bin/oarsub", *USUAL, resource, f"/usr/bin/python3 -IS {SCRIPT}"]


def test_a_submission_with_all_that_a_place_has() -> None:
    place = Place(queue="daas", project="portal", properties="mem > 64 AND gpu='YES'", types=("a=1", "b"))
    options = OarOptions(programs="/opt/oar", host="nodes", gpu="gpudevice", python="/sw/python")
    words = submission(request(gpus=2, place=place), options, SCRIPT)
    assert words == [
        "/opt/oar/oarsub",
        *USUAL,
        "--resource=/nodes=1/gpudevice=2,walltime=8:05:00",
        "--queue=daas",
        "--project=portal",
        "--property=mem > 64 AND gpu='YES'",
        "--type=a=1",
        "--type=b",
        f"/sw/python -IS {SCRIPT}",
    ]


@pytest.mark.parametrize(("per_core", "cores"), [(None, 2), (1024, 3), (4096, 2), (1000, 4)])
def test_memory_comes_with_cores(per_core: int | None, cores: int) -> None:
    words = submission(request(), OarOptions(memory_per_core=per_core), SCRIPT)
    assert f"--resource=/host=1/core={cores},walltime=8:05:00" in words


def test_a_home_of_any_name_is_one_word_of_the_command() -> None:
    assert submission(request(), OarOptions(), "/h/a b;id")[-1] == "/usr/bin/python3 -IS '/h/a b;id'"


@pytest.mark.parametrize("value", ["x; id", "$(id)", "`id`", 'a"b', "a\nb", "x\\", "-v", ""])
def test_a_condition_has_a_narrow_form(value: str) -> None:
    with pytest.raises(ValueError, match="properties"):
        Place(properties=value)


def test_a_role_counts_after_a_flavour() -> None:
    software = OarSoftware(
        command=("run",),
        queue="usual",
        walltime_hours=4,
        flavours={"big": Place(queue="fat", project="big")},
        roles={Role.INSTRUMENT_SCIENTIST: Place(queue="staff")},
    )
    big = Flavour(key="big", title="Big", cpus=1, memory=1)
    assert software.place(big, ()) == Place(queue="fat", project="big", walltime_hours=4)
    staff = software.place(big, (Role.INSTRUMENT_SCIENTIST,))
    assert staff == Place(queue="staff", project="big", walltime_hours=4)


# --- what is free


def cluster(**more: Any) -> dict[str, Any]:
    """Return two machines of four cores, as oarnodes tells of them; a GPU belongs to two cores."""
    found: dict[str, Any] = {}
    for number in range(8):
        found[str(number)] = {
            "resource_id": number,
            "type": "default",
            "state": "Alive",
            "host": f"oar{number // 4}",
            "core": str(number),
            "gpu": str(number // 2),
            **more,
        }
    return found


@pytest.mark.parametrize(
    ("flavour", "busy", "fits", "free"),
    [
        ({"cpus": 1}, set(), True, 8),
        ({"cpus": 3}, set(), True, 2),
        ({"cpus": 3}, {0, 1}, True, 1),
        ({"cpus": 5}, set(), False, None),
        ({"cpus": 1, "gpus": 1}, {0}, True, 3),
        ({"cpus": 1, "gpus": 3}, set(), False, None),
        ({"cpus": 1, "memory": 2 << 30}, set(), True, 4),
    ],
)
def test_counts_what_is_free(flavour: dict[str, int], busy: set[int], fits: bool, free: int | None) -> None:
    wanted = Flavour(**{"key": "f", "title": "F", "memory": 1 << 20, **flavour})
    found = count(cluster(), busy, wanted, OarOptions(memory_per_core=1024))
    assert (found.fits, found.free) == (fits, free)


@pytest.mark.parametrize("more", [{"state": "Suspected"}, {"state": "Absent"}, {"drain": "YES"}])
def test_what_is_out_of_order_is_not_free(more: dict[str, str]) -> None:
    found = count(cluster(**more), set(), Flavour(key="f", title="F", cpus=1, memory=1), OarOptions())
    assert (found.fits, found.free) == (True, 0)
    assert "closed" in found.reason


# --- answers that are none


class Deaf(Runner):
    """Answer whatever is asked in one way, and write down what that was."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = list(answers), list[list[str]]()

    async def run(self, words: Any, *, account: JobAccount | None = None, stdin: str = "") -> Answer:
        """Answer."""
        self.asked.append(list(words))
        return self.answers.pop(0)


async def _account(name: str) -> JobAccount:
    return JobAccount(name, 20001, 20001, home="/home/amara")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(25, "", "DB connection error, exiting."),
        Answer(0, "no JSON", ""),
        Answer(0, "[]", ""),
        Answer(0, '{"17": ', ""),
    ],
)
async def test_an_answer_that_is_not_understood_is_none(answer: Answer) -> None:
    programs = OarPrograms(Deaf(answer), OarOptions(), hub_id=HUB, find_account=_account)
    with pytest.raises(BackendUnavailableError):
        await programs.jobs()


async def test_nothing_is_said_of_no_job() -> None:
    programs = OarPrograms(Deaf(Answer(0, "", "")), OarOptions(), hub_id=HUB, find_account=_account)
    assert await programs.jobs() == {}


async def test_a_job_is_not_submitted_where_oarsub_would_try_for_ever() -> None:
    runner = Deaf(Answer(25, "", "DB connection error, exiting."))
    programs = OarPrograms(runner, OarOptions(), hub_id=HUB, find_account=_account)
    with pytest.raises(BackendUnavailableError):
        await programs.submit(request())
    assert len(runner.asked) == 1


@pytest.mark.parametrize(
    ("answer", "cls", "removed"),
    [
        # Taken or not, nobody knows: it has to find its script.
        (Answer(9, "OAR_JOB_ID=6\n", "Cannot connect to executor"), BackendUnavailableError, False),
        (Answer(8, "OAR_JOB_ID=-5\n", "There are not enough resources"), NoCapacityError, True),
        (Answer(0, "OAR_JOB_ID=-5\n", ""), BackendError, True),
    ],
)
async def test_a_refused_job_leaves_no_script(answer: Answer, cls: type[DaasError], removed: bool) -> None:
    fine = Answer(0, "", "")
    runner = Deaf(fine, fine, answer, fine)
    programs = OarPrograms(runner, OarOptions(), hub_id=HUB, find_account=_account)
    with pytest.raises(cls):
        await programs.submit(request())
    assert (["/usr/bin/rm", "-f", "--", SCRIPT] in runner.asked) is removed


async def test_a_home_that_takes_no_file_is_said_to_be_full() -> None:
    runner = Deaf(Answer(0, "", ""), Answer(1, "", "No space left on device"))
    programs = OarPrograms(runner, OarOptions(), hub_id=HUB, find_account=_account)
    with pytest.raises(BackendError, match="full"):
        await programs.submit(request())


@pytest.mark.parametrize(
    ("answer", "fails"),
    [
        (Answer(0, "Deleting the job = 17 ...REGISTERED.", ""), False),
        (Answer(6, "", "Cannot frag 17 ; This job was already killed."), False),
        # It is written down, and nobody acts on it yet.
        (Answer(2, "REGISTERED.", "Could not connect to the socket localhost:6666"), True),
    ],
)
async def test_a_cancelled_job_leaves_no_script(answer: Answer, fails: bool) -> None:
    runner = Deaf(answer, Answer(0, "", ""))
    programs = OarPrograms(runner, OarOptions(), hub_id=HUB, find_account=_account)
    job = parse_jobs({"17": entry("Waiting", assigned_network_address=[])}, HUB)[SESSION]
    if fails:
        with pytest.raises(BackendUnavailableError):
            await programs.cancel(job)
    else:
        await programs.cancel(job)
        assert runner.asked == [["/usr/bin/oardel", "17"], ["/usr/bin/rm", "-f", "--", SCRIPT]]
