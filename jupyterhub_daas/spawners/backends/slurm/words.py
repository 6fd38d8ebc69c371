"""Slurm's words: states become phases, reasons become sentences for a scientist, refusals become our
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
    waiting="PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT",
    running="RUNNING COMPLETING SUSPENDED STOPPED SIGNALING RESIZING STAGE_OUT",
    ended=(
        "COMPLETED CANCELLED TIMEOUT DEADLINE FAILED BOOT_FAIL NODE_FAIL LAUNCH_FAILED OUT_OF_MEMORY "
        "PREEMPTED REVOKED"
    ),
)

# Beginnings of reasons, the first that fits counts: why a job waits.
WAITS: Mapping[str, str] = {
    "AssocGrp": "Your group on the cluster uses all that it may. Waiting until something of it ends",
    "AssocMax": "You use all that you may on the cluster. Waiting until something of it ends",
    "QOSGrp": "This class of jobs uses all that it may. Waiting until one of them ends",
    "QOSMax": "You use all that you may in this class of jobs. Waiting until something of it ends",
    "MaxGRESPerAccount": "Your group on the cluster uses all GPUs that it may. Waiting until one is free",
    "Priority": "Others are before you. Waiting for your turn",
    "Resources": words.WAITS_FOR_ROOM,
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
    "TIMEOUT": words.TIME_OVER,
    "DEADLINE": words.TIME_OVER,
    "OUT_OF_MEMORY": "It used more memory than its flavour has. Choose a bigger one",
    "NODE_FAIL": words.MACHINE_FAILED,
    "BOOT_FAIL": "The machine that it was to run on did not start",
    "PREEMPTED": words.MORE_URGENT,
    "CANCELLED": words.CANCELLED,
}

# Parts of what sbatch says when it refuses, and what the person reads. None of Slurm's own text goes into it.
REFUSALS: tuple[words.Refusal, ...] = (
    ("AssocMaxSubmitJobLimit", QuotaExceededError, words.FULL_FOR_YOU),
    (
        "QOSMaxSubmitJob",
        QuotaExceededError,
        "You have as many sessions and jobs of this class as you may. End one of them and start again.",
    ),
    ("Job violates accounting/QOS policy", QuotaExceededError, _TOO_MUCH),
    ("Invalid account", AccessError, words.NO_ACCOUNT),
    ("group not permitted", AccessError, words.NO_ACCOUNT),
    ("not permitted to use this partition", AccessError, words.NO_ACCOUNT),
    ("Access/permission denied", AccessError, words.NO_ACCOUNT),
    ("Invalid qos", AccessError, words.NO_ACCOUNT),
    ("Invalid user id", AccessError, words.NO_ACCOUNT),
    # What sudo says where its rule does not name the person.
    ("is not allowed to execute", AccessError, words.NO_ACCOUNT),
    ("a password is required", AccessError, words.NO_ACCOUNT),
    (
        "Requested reservation is invalid",
        NoCapacityError,
        "The reserved time on the cluster is over or has not begun.",
    ),
    ("nvalid partition", ConfigurationError, words.NO_SUCH_PART),
    ("Invalid feature", ConfigurationError, words.NO_SUCH_MACHINES),
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
    ("Unable to contact", BackendUnavailableError, words.AWAY),
    ("Socket timed out", BackendUnavailableError, words.AWAY),
    ("auth", BackendUnavailableError, words.AWAY),
    ("unge", BackendUnavailableError, words.AWAY),
)


def refusal(text: str) -> DaasError:
    """Return our error for what sbatch said."""
    return words.refusal(text, REFUSALS)


def why_waiting(job: Job) -> str:
    """Say why a job waits and when it may start; raise where it would wait for ever."""
    reason = job.reason.strip("()")
    if reason.startswith(HOPELESS) or reason.endswith("PerJobLimit") or reason.endswith("PerJob"):
        key = next((key for key in HOPELESS_WORDS if reason.startswith(key)), "")
        hopeless = HOPELESS_WORDS.get(key) or (
            _TOO_MUCH
            if "PerJob" in reason
            else "The cluster would never run this session. Please tell the support team."
        )
        raise NoCapacityError(hopeless, reason=reason[:80])
    why = next((why for begin, why in WAITS.items() if reason.startswith(begin)), "Waiting on the cluster")
    return words.waits(why, job.starts_at)


def why_ended(job: Job | None, when: str) -> str:
    """Say why a session ended."""
    if job is None:
        return words.ended(words.GONE, when)
    reason = ENDS.get(job.word, words.PROGRAM_ENDED)
    if job.word == "FAILED" and job.reason.startswith("Out"):
        reason = ENDS["OUT_OF_MEMORY"]
    return words.ended(reason, when)
