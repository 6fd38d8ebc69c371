"""OAR's words: states become phases, messages become sentences for a scientist, refusals become our
errors."""

from collections.abc import Mapping

from jupyterhub_daas.errors import (
    AccessError,
    BackendUnavailableError,
    ConfigurationError,
    DaasError,
    NoCapacityError,
    QuotaExceededError,
)
from jupyterhub_daas.spawners.backends.batch import words
from jupyterhub_daas.spawners.backends.batch.jobs import Job

PHASES = words.build_phases(
    waiting="Waiting Hold toLaunch toAckReservation Launching",
    # One that goes on after it was suspended has all that it had: it does not wait for its place again.
    running="Running Suspended Resuming Finishing",
    ended="Terminated toError Error",
)

# Why a job ended, by what OAR wrote down about it; the first that is there counts.
ENDS: Mapping[str, str] = {
    "WALLTIME": words.TIME_OVER,
    "SEND_KILL_JOB_BESTEFFORT": words.MORE_URGENT,
    "BESTEFFORT_KILL": words.MORE_URGENT,
    "FRAG_JOB_REQUEST": words.CANCELLED,
    "SUSPECTED": words.MACHINE_FAILED,
    "SWITCH_INTO_ERROR_STATE": words.MACHINE_FAILED,
}

# Exit statuses of oarsub.
TOO_BIG, NO_SERVER = 8, 9
# Parts of what oarsub says when it refuses, and what the person reads. None of OAR's own text goes into it.
REFUSALS: tuple[words.Refusal, ...] = (
    (
        "not enough resources",
        NoCapacityError,
        "No machines of the cluster that work at present are big enough. Choose a smaller flavour.",
    ),
    ("Bad resource request", ConfigurationError, words.NO_SUCH_MACHINES),
    ("does not exist", ConfigurationError, words.NO_SUCH_PART),
    ("unknown job type", ConfigurationError, "This profile names a kind of job that is not there."),
    ("resource is not allowed", ConfigurationError, "This profile asks for what the cluster does not give."),
    ("nly member of the group", AccessError, words.NO_ACCOUNT),
    ("not allowed to submit", AccessError, words.NO_ACCOUNT),
    ("is not allowed to execute", AccessError, words.NO_ACCOUNT),
    ("a password is required", AccessError, words.NO_ACCOUNT),
    ("you cannot have more than", QuotaExceededError, words.FULL_FOR_YOU),
    (
        "[ADMISSION RULE] Error",
        AccessError,
        "The cluster's rules do not allow you this session. Please ask your local contact.",
    ),
    ("DB connection error", BackendUnavailableError, words.AWAY),
)


def refusal(status: int, text: str) -> DaasError:
    """Return our error for how oarsub ended and what it said."""
    if status == NO_SERVER:
        return BackendUnavailableError(words.AWAY)
    return words.refusal(text, REFUSALS)


def why_waiting(job: Job) -> str:
    """Say why a job waits and when it may start."""
    if job.word == "Hold":
        return "The cluster's staff holds your session back. Please tell the support team."
    if job.word in ("toLaunch", "Launching"):
        return "The cluster starts the session in a moment."
    if "no_matching_slot" in job.reason:
        why = "The machines for this are out of order or kept free. Waiting until they are back"
    elif "quota_ok" in job.reason or "quota" not in job.reason:
        why = words.WAITS_FOR_ROOM
    else:
        why = "You or your group use all that you may on the cluster. Waiting until something of it ends"
    return words.waits(why, job.starts_at)


def why_ended(job: Job | None, when: str) -> str:
    """Say why a session ended."""
    if job is None:
        return words.ended(words.GONE, when)
    events = job.reason.split()
    reason = next((why for event, why in ENDS.items() if event in events), words.PROGRAM_ENDED)
    return words.ended(reason, when)
