"""Slurm's words: states become phases, reasons become sentences for a scientist, refusals become our
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

_WAITING = "PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT"
_RUNNING = "RUNNING COMPLETING SUSPENDED STOPPED SIGNALING RESIZING STAGE_OUT"
_ENDED = (
    "COMPLETED CANCELLED TIMEOUT DEADLINE FAILED BOOT_FAIL NODE_FAIL LAUNCH_FAILED OUT_OF_MEMORY PREEMPTED "
    "REVOKED"
)
PHASES: Mapping[str, Phase] = {
    word: phase
    for words, phase in ((_WAITING, Phase.WAITING), (_RUNNING, Phase.RUNNING), (_ENDED, Phase.ENDED))
    for word in words.split()
}

# Beginnings of reasons, the first that fits counts: why a job waits.
WAITS: Mapping[str, str] = {
    "AssocGrp": "Your group on the cluster uses all that it may. Waiting until something of it ends",
    "AssocMax": "You use all that you may on the cluster. Waiting until something of it ends",
    "QOSGrp": "This class of jobs uses all that it may. Waiting until one of them ends",
    "QOSMax": "You use all that you may in this class of jobs. Waiting until something of it ends",
    "MaxGRESPerAccount": "Your group on the cluster uses all GPUs that it may. Waiting until one is free",
    "Priority": "Others are before you. Waiting for your turn",
    "Resources": "Waiting for free resources on the cluster",
    "ReqNodeNotAvail": "The machines for this are reserved or in maintenance. Waiting until they are back",
    "Nodes_required_for_job_are_DOWN": "The machines for this are out of order or kept free. Waiting",
    "BeginTime": "The cluster starts the session in a moment",
    "NodeDown": "A machine failed. Waiting for another one",
    "Licenses": "Waiting for a free licence",
    "Reservation": "Waiting for the reserved time to begin",
    "Cleaning": "The cluster tidies up after the last try",
    "Prolog": "The machine is being prepared",
    "JobHeldAdmin": "The cluster's staff holds your session back. Please tell the support team",
    "None": "Waiting for the cluster to look at your session",
}
# Reasons of jobs that would wait for ever.
HOPELESS = (
    "PartitionDown",
    "PartitionInactive",
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "AccountNotAllowed",
    "QOSNotAllowed",
    "QOSTimeLimit",
    "AssociationTimeLimit",
    "AssociationJobLimit",
    "AssociationResourceLimit",
    "TimeLimit",
    "JobHeldUser",
    "ReservationDeleted",
    "InactiveLimit",
)
_CLOSED = "This part of the cluster takes no sessions at present. Choose another environment or tell support."
_TOO_LONG = (
    "The cluster does not run sessions as long as this profile asks for. Please tell the support team."
)
_TOO_MUCH = "The cluster allows no single session of this size to you. Choose a smaller flavour."
HOPELESS_WORDS: Mapping[str, str] = {
    "PartitionDown": _CLOSED,
    "PartitionInactive": _CLOSED,
    "PartitionTimeLimit": _TOO_LONG,
    "QOSTimeLimit": _TOO_LONG,
    "AssociationTimeLimit": _TOO_LONG,
    "AssocMaxWall": _TOO_LONG,
    "QOSMaxWall": _TOO_LONG,
}

ENDS: Mapping[str, str] = {
    "TIMEOUT": "Its time on the cluster was over",
    "DEADLINE": "Its time on the cluster was over",
    "OUT_OF_MEMORY": "It used more memory than its flavour has. Choose a bigger one",
    "NODE_FAIL": "The machine that it ran on failed",
    "BOOT_FAIL": "The machine that it was to run on did not start",
    "PREEMPTED": "The cluster needed its place for something more urgent",
    "CANCELLED": "It was cancelled on the cluster",
}

# Parts of what sbatch says when it refuses, and what the person reads. None of Slurm's own text goes into it.
_NO_ACCOUNT = (
    "Your account may not use this part of the cluster. Ask the user office or your local contact to have it "
    "added."
)
REFUSALS: tuple[tuple[str, type[DaasError], str], ...] = (
    (
        "AssocMaxSubmitJobLimit",
        QuotaExceededError,
        "You have as many sessions and jobs on the cluster as you may. End one of them and start again.",
    ),
    (
        "QOSMaxSubmitJob",
        QuotaExceededError,
        "You have as many sessions and jobs of this class as you may. End one of them and start again.",
    ),
    ("Job violates accounting/QOS policy", QuotaExceededError, _TOO_MUCH),
    ("Invalid account", AccessError, _NO_ACCOUNT),
    ("group not permitted", AccessError, _NO_ACCOUNT),
    ("not permitted to use this partition", AccessError, _NO_ACCOUNT),
    ("Access/permission denied", AccessError, _NO_ACCOUNT),
    ("Invalid qos", AccessError, _NO_ACCOUNT),
    ("Invalid user id", AccessError, _NO_ACCOUNT),
    # What sudo says where its rule does not name the person.
    ("is not allowed to execute", AccessError, _NO_ACCOUNT),
    ("a password is required", AccessError, _NO_ACCOUNT),
    (
        "Requested reservation is invalid",
        NoCapacityError,
        "The reserved time on the cluster is over or has not begun.",
    ),
    ("nvalid partition", ConfigurationError, "This profile names a part of the cluster that is not there."),
    ("Invalid feature", ConfigurationError, "This profile asks for machines that the cluster does not have."),
    (
        "Invalid generic resource",
        ConfigurationError,
        "This profile asks for GPUs that the cluster does not have.",
    ),
    (
        "Requested node configuration is not available",
        NoCapacityError,
        "No machine of the cluster is big enough. Choose a smaller flavour.",
    ),
    ("Requested time limit is invalid", ConfigurationError, _TOO_LONG),
    (
        "More processors requested",
        NoCapacityError,
        "No machine of the cluster is big enough. Choose a smaller flavour.",
    ),
    (
        "Memory specification can not be satisfied",
        NoCapacityError,
        "No machine of the cluster has that much memory. Choose a smaller flavour.",
    ),
    ("Required partition not available", NoCapacityError, _CLOSED),
    (
        "Unable to contact",
        BackendUnavailableError,
        "The cluster does not answer. Please try again in some minutes.",
    ),
    (
        "Socket timed out",
        BackendUnavailableError,
        "The cluster does not answer. Please try again in some minutes.",
    ),
    ("auth", BackendUnavailableError, "The cluster does not answer. Please try again in some minutes."),
    ("unge", BackendUnavailableError, "The cluster does not answer. Please try again in some minutes."),
)


def refusal(text: str) -> DaasError:
    """Return our error for what sbatch said."""
    for part, cls, words in REFUSALS:
        if part in text:
            if cls is QuotaExceededError:
                return cls(words, scope="facility")
            return cls(words)
    return BackendError("The cluster refused the session. Please tell the support team.")


def why_waiting(job: Job) -> str:
    """Say why a job waits and when it may start; raise where it would wait for ever."""
    reason = job.reason.strip("()")
    if reason.startswith(HOPELESS) or reason.endswith("PerJobLimit") or reason.endswith("PerJob"):
        key = next((key for key in HOPELESS_WORDS if reason.startswith(key)), "")
        words = HOPELESS_WORDS.get(key) or (
            _TOO_MUCH
            if "PerJob" in reason
            else "The cluster would never run this session. Please tell the support team."
        )
        raise NoCapacityError(words, reason=reason[:80])
    words = next(
        (words for begin, words in WAITS.items() if reason.startswith(begin)), "Waiting on the cluster"
    )
    if job.starts_at is None:
        return f"{words}."
    moment = datetime.fromtimestamp(job.starts_at).astimezone()
    return f"{words}. Expected to start by {moment:%-d %B, %H:%M %Z}."


def why_ended(job: Job | None, when: str) -> str:
    """Say why a session ended."""
    reason = "The cluster no longer has it"
    if job is not None:
        reason = ENDS.get(job.word, "Its program ended")
        if job.word == "FAILED" and job.reason.startswith("Out"):
            reason = ENDS["OUT_OF_MEMORY"]
    return f"The session ended{' ' + when if when else ''}. {reason}. Its own log says more; see Details."
