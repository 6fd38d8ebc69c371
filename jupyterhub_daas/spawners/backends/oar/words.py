"""OAR's words: states become phases, messages become sentences for a scientist, refusals become our
errors."""

from collections.abc import Mapping
from datetime import datetime

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

_WAITING = "Waiting Hold toLaunch toAckReservation Launching"
# One that goes on after it was suspended has all that it had: it does not wait for its place again.
_RUNNING = "Running Suspended Resuming Finishing"
_ENDED = "Terminated toError Error"
PHASES: Mapping[str, Phase] = {
    word: phase
    for words, phase in ((_WAITING, Phase.WAITING), (_RUNNING, Phase.RUNNING), (_ENDED, Phase.ENDED))
    for word in words.split()
}

# Why a job ended, by what OAR wrote down about it; the first that is there counts.
ENDS: Mapping[str, str] = {
    "WALLTIME": "Its time on the cluster was over",
    "SEND_KILL_JOB_BESTEFFORT": "The cluster needed its place for something more urgent",
    "BESTEFFORT_KILL": "The cluster needed its place for something more urgent",
    "FRAG_JOB_REQUEST": "It was cancelled on the cluster",
    "SUSPECTED": "The machine that it ran on failed",
    "SWITCH_INTO_ERROR_STATE": "The machine that it ran on failed",
}

# Exit statuses of oarsub.
TOO_BIG, NO_SERVER = 8, 9
_AWAY = "The cluster does not answer. Please try again in some minutes."
_NO_ACCOUNT = (
    "Your account may not use this part of the cluster. Ask the user office or your local contact to have it "
    "added."
)
# Parts of what oarsub says when it refuses, and what the person reads. None of OAR's own text goes into it.
REFUSALS: tuple[tuple[str, type[DaasError], str], ...] = (
    (
        "not enough resources",
        NoCapacityError,
        "No machines of the cluster that work at present are big enough. Choose a smaller flavour.",
    ),
    (
        "Bad resource request",
        ConfigurationError,
        "This profile asks for machines that the cluster does not have.",
    ),
    ("does not exist", ConfigurationError, "This profile names a part of the cluster that is not there."),
    ("unknown job type", ConfigurationError, "This profile names a kind of job that is not there."),
    ("resource is not allowed", ConfigurationError, "This profile asks for what the cluster does not give."),
    ("nly member of the group", AccessError, _NO_ACCOUNT),
    ("not allowed to submit", AccessError, _NO_ACCOUNT),
    ("is not allowed to execute", AccessError, _NO_ACCOUNT),
    ("a password is required", AccessError, _NO_ACCOUNT),
    (
        "you cannot have more than",
        QuotaExceededError,
        "You have as many sessions and jobs on the cluster as you may. End one of them and start again.",
    ),
    (
        "[ADMISSION RULE] Error",
        AccessError,
        "The cluster's rules do not allow you this session. Please ask your local contact.",
    ),
    ("DB connection error", BackendUnavailableError, _AWAY),
)


def refusal(status: int, text: str) -> DaasError:
    """Return our error for how oarsub ended and what it said."""
    if status == NO_SERVER:
        return BackendUnavailableError(_AWAY)
    for part, cls, words in REFUSALS:
        if part in text:
            if cls is QuotaExceededError:
                return cls(words, scope="facility")
            return cls(words)
    return BackendError("The cluster refused the session. Please tell the support team.")


def why_waiting(job: Job) -> str:
    """Say why a job waits and when it may start."""
    if job.word == "Hold":
        return "The cluster's staff holds your session back. Please tell the support team."
    if job.word in ("toLaunch", "Launching"):
        return "The cluster starts the session in a moment."
    if "no_matching_slot" in job.reason:
        words = "The machines for this are out of order or kept free. Waiting until they are back"
    elif "quota_ok" in job.reason or "quota" not in job.reason:
        words = "Waiting for free resources on the cluster"
    else:
        words = "You or your group use all that you may on the cluster. Waiting until something of it ends"
    if not job.starts_at:
        return f"{words}."
    moment = datetime.fromtimestamp(job.starts_at).astimezone()
    return f"{words}. Expected to start by {moment:%-d %B, %H:%M %Z}."


def why_ended(job: Job | None, when: str) -> str:
    """Say why a session ended."""
    reason = "The cluster no longer has it"
    if job is not None:
        events = job.reason.split()
        reason = next((words for event, words in ENDS.items() if event in events), "Its program ended")
    return f"The session ended{' ' + when if when else ''}. {reason}. Its own log says more; see Details."
