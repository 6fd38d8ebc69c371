"""Slurm's words: every state has a phase, every reason a sentence, every refusal one of our errors."""

import pytest

from jupyterhub_daas.errors import (
    AccessError,
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    DaasError,
    NoCapacityError,
    QuotaExceededError,
)
from jupyterhub_daas.spawners.backends.batch.jobs import Job, Phase
from jupyterhub_daas.spawners.backends.slurm.cli import parse_jobs
from jupyterhub_daas.spawners.backends.slurm.words import refusal, why_ended, why_waiting

HUB, SESSION = "476dbc1b", "0123456789abcdef"


def line(word: str = "RUNNING", *, node: str = "n1", reason: str = "None", name: str = "") -> str:
    """Return a line of squeue."""
    return f"{name or f'daas-{HUB}-{SESSION}'}|17|{word}|amara|{node}|1795637376|1795637496|{reason}\n"


def waiting(reason: str, starts_at: float | None = None) -> Job:
    """Return a job that waits."""
    return Job("17", SESSION, "amara", Phase.WAITING, "PENDING", reason, starts_at=starts_at)


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        *((word, Phase.WAITING) for word in ("PENDING", "CONFIGURING", "REQUEUED", "SPECIAL_EXIT")),
        *((word, Phase.RUNNING) for word in ("RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "SIGNALING")),
        *((word, Phase.ENDED) for word in ("COMPLETED", "CANCELLED", "TIMEOUT", "FAILED", "NODE_FAIL")),
        # A word of a later Slurm is no end.
        ("TELEPORTING", Phase.RUNNING),
    ],
)
def test_each_state_is_a_phase(word: str, phase: Phase) -> None:
    assert parse_jobs(line(word), HUB)[SESSION].phase is phase


def test_an_unknown_word_without_a_node_waits() -> None:
    assert parse_jobs(line("TELEPORTING", node="n/a"), HUB)[SESSION].phase is Phase.WAITING


def test_takes_only_the_jobs_of_this_hub() -> None:
    others = [
        f"daas-{HUB}0-{SESSION}",
        f"daas-other-{SESSION}",
        f"daas-{HUB}-{SESSION}0",
        f"daas-{HUB}-../../etc",
        f"daas-{HUB}-",
        "fit|RUNNING",
        SESSION,
    ]
    assert parse_jobs("".join(line(name=name) for name in others), HUB) == {}


def test_a_living_job_counts_before_one_that_ended() -> None:
    both = [line("FAILED"), line("RUNNING")]
    for order in (both, both[::-1]):
        assert parse_jobs("".join(order), HUB)[SESSION].phase is Phase.RUNNING


def test_a_reason_may_hold_the_separator() -> None:
    found = parse_jobs(line("PENDING", node="n/a", reason="Nodes|required"), HUB)[SESSION]
    assert found.reason == "Nodes|required"
    assert found.node == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "free resources"),
        ("Priority", "before you"),
        ("AssocGrpCpuLimit", "Your group"),
        ("AssocMaxJobsLimit", "You use all"),
        ("QOSGrpGRES", "class of jobs"),
        ("(ReqNodeNotAvail, UnavailableNodes:n1)", "maintenance"),
        ("Licenses", "licence"),
        ("SomethingNew", "Waiting on the cluster"),
    ],
)
def test_says_why_a_session_waits(reason: str, words: str) -> None:
    sentence = why_waiting(waiting(reason))
    assert words in sentence
    assert reason.strip("()") not in sentence


def test_says_when_it_is_expected_to_start() -> None:
    assert "Expected to start by 25 November" in why_waiting(waiting("Resources", 1795637376.0))
    assert "Expected" not in why_waiting(waiting("Resources"))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PartitionDown", "takes no sessions"),
        ("PartitionTimeLimit", "as long as"),
        ("AssocMaxCpuPerJobLimit", "smaller flavour"),
        ("AssocMaxWallDurationPerJobLimit", "as long as"),
        ("QOSMaxMemoryPerJob", "smaller flavour"),
        ("BadConstraints", "never run"),
        ("InvalidQOS", "never run"),
    ],
)
def test_a_session_that_would_wait_for_ever_is_refused(reason: str, words: str) -> None:
    with pytest.raises(NoCapacityError, match=words):
        why_waiting(waiting(reason))


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("AssocMaxSubmitJobLimit\nJob violates accounting/QOS policy (job submit limit)", QuotaExceededError),
        ("Job violates accounting/QOS policy (job submit limit, ...)", QuotaExceededError),
        (
            "Batch job submission failed: Invalid account or account/partition combination specified",
            AccessError,
        ),
        ("Batch job submission failed: User's group not permitted to use this partition", AccessError),
        ("Batch job submission failed: Invalid qos specification", AccessError),
        ("invalid partition specified: nowhere", ConfigurationError),
        ("Batch job submission failed: Invalid feature specification", ConfigurationError),
        ("Batch job submission failed: Requested node configuration is not available", NoCapacityError),
        ("Batch job submission failed: Unable to contact slurm controller", BackendUnavailableError),
        ("Munge encode failed: Failed to access /run/munge/munge.socket.2", BackendUnavailableError),
        ("something never heard of, token=abc", BackendError),
    ],
)
def test_each_refusal_has_its_error_and_sentence(said: str, error: type[DaasError]) -> None:
    found = refusal("sbatch: error: " + said)
    assert type(found) is error
    assert found.message.endswith(".")
    assert "sbatch" not in found.message
    assert "token" not in found.message


@pytest.mark.parametrize(
    ("word", "words"),
    [("TIMEOUT", "time on the cluster was over"), ("NODE_FAIL", "failed"), ("OUT_OF_MEMORY", "more memory")],
)
def test_says_why_a_session_ended(word: str, words: str) -> None:
    assert words in why_ended(Job("17", SESSION, "amara", Phase.ENDED, word), "")
    assert "no longer" in why_ended(None, "")
