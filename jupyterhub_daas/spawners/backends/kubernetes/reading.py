"""Read what the cluster says of a pod: pure, total, and in words for a scientist.

Every state of a pod maps to one of ours. What cannot be understood is a pod that may run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.spawners.backends.kubernetes.pod import CONTAINER

Object = Mapping[str, Any]

# Reasons for which a container waits that more waiting does not cure: what to tell support, and how long one
# of them may last before it counts, in seconds. A node tries again by itself meanwhile.
HOPELESS = {
    "InvalidImageName": ("image-name", 0.0),
    "ErrImageNeverPull": ("image-missing", 0.0),
    "ErrImagePull": ("image-pull", 15.0),
    "ImagePullBackOff": ("image-pull", 15.0),
    "ImageInspectError": ("image-broken", 15.0),
    "CreateContainerConfigError": ("pod-configuration", 30.0),
    "CreateContainerError": ("pod-creation", 30.0),
    "RunContainerError": ("pod-run", 15.0),
    "CrashLoopBackOff": ("pod-crash", 0.0),
}
NEVER_RAN = ("StartError", "ContainerCannotRun")
_MESSAGES = {
    "image-name": "The software's image has no valid name.",
    "image-missing": "The software's image is not on the machines of the cluster.",
    "image-pull": "The software's image was not found, or could not be fetched.",
    "image-broken": "The software's image is damaged.",
}
# What an event means to the person, with how far the start has come; other events are for the log.
_WORDS = {
    "Scheduled": (55, "A machine was found"),
    "TriggeredScaleUp": (52, "Adding a machine to the cluster, which takes some minutes"),
    "SuccessfulAttachVolume": (57, "Mounting the storage"),
    "FailedMount": (57, "Waiting for the storage"),
    "FailedAttachVolume": (57, "Waiting for the storage"),
    "Pulling": (60, "Fetching the software, which takes a while the first time"),
    "Pulled": (70, "The software is there"),
    "Started": (75, "Starting the session"),
}
_SHORT = {
    "cpu": "enough free cpus",
    "memory": "enough free memory",
    "ephemeral-storage": "enough free storage",
}


@dataclass(frozen=True)
class Ending:
    """How a session ended: an exit status, and why, as far as the cluster says; `detail` is for the log."""

    status: int
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not come up: `code` for support, `detail` for the log, `patience` in seconds."""

    code: str
    message: str
    detail: str
    patience: float


def ending(pod: Object) -> Ending | None:
    """Return how the session of a pod ended, None unless the cluster says that it has."""
    status = pod.get("status", {})
    ended = _container(pod).get("state", {}).get("terminated")
    if ended is not None:
        reason = str(ended.get("reason", ""))
        # Of a program that ran, the message may be its own words.
        detail = str(ended.get("message", ""))[:2000] if reason in NEVER_RAN else ""
        return Ending(int(ended.get("exitCode", 1)), reason, detail)
    if status.get("phase") in ("Succeeded", "Failed"):
        # Evicted, or refused by its node: no container of it ran to an end.
        return Ending(1, str(status.get("reason", "")))
    return None


def address(pod: Object) -> str | None:
    """Return the address of a pod whose session runs."""
    if "deletionTimestamp" in pod.get("metadata", {}) or "running" not in _container(pod).get("state", {}):
        return None
    found = pod.get("status", {}).get("podIP")
    return str(found) if found else None


def trouble(pod: Object) -> Trouble | None:
    """Return what keeps a pod from coming up that waiting does not cure."""
    waiting = _container(pod).get("state", {}).get("waiting", {})
    reason = str(waiting.get("reason", ""))
    if reason not in HOPELESS:
        return None
    code, patience = HOPELESS[reason]
    message = _MESSAGES.get(code, "The session could not be set up on its machine.")
    return Trouble(code, message, f"{reason}: {waiting.get('message', '')}"[:2000], patience)


def is_waiting_for_a_node(pod: Object) -> bool:
    """Tell whether a pod has no machine yet."""
    return not pod.get("spec", {}).get("nodeName") and ending(pod) is None


def place_in_line(pod: Object, others: Iterable[Object]) -> int:
    """Return how many other sessions have waited longer for a machine than this one."""
    own = _age_key(pod)
    return sum(1 for each in others if is_waiting_for_a_node(each) and _age_key(each) < own)


def words(event: Object, *, before: int = 0) -> tuple[int, str] | None:
    """Return progress and text for an event of a session's pod; None where it tells a person nothing."""
    reason = event.get("reason")
    if reason == "FailedScheduling":
        text = f"Waiting for a machine with {_lacking(str(event.get('message', '')))}"
        return 51, text + (f", {before} before you" if before else "")
    return _WORDS.get(str(reason))


def _lacking(message: str) -> str:
    if "gpu" in message.lower():
        return "a free GPU"
    for name, text in _SHORT.items():
        if f"Insufficient {name}" in message:
            return text
    return "room"


def why_it_ended(found: Ending) -> str:
    """Say in a sentence why a session that had not come up ended."""
    if found.reason == "OOMKilled":
        return "The session ended while it was starting: it needed more memory than its size has."
    if found.reason == "Evicted":
        return "The session ended while it was starting: its machine ran out of space."
    if found.reason in NEVER_RAN:
        return f"The software could not be started. Please tell the support team, code {found.reason}."
    return f"The session ended while it was starting (exit status {found.status})."


def _container(pod: Object) -> Mapping[str, Any]:
    for each in pod.get("status", {}).get("containerStatuses") or ():
        if each.get("name") == CONTAINER:
            found: Mapping[str, Any] = each
            return found
    return {}


def _age_key(pod: Object) -> tuple[str, str]:
    metadata = pod.get("metadata", {})
    return str(metadata.get("creationTimestamp", "")), str(metadata.get("name", ""))
