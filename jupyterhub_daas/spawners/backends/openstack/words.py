"""What the cloud says of a machine, and of a request that it refuses: pure, total, in words for a scientist.

Every state of a server maps to one of ours. What cannot be understood is a machine that may run.
"""

from dataclasses import dataclass
from enum import Enum

from jupyterhub_daas.errors import BackendError, NoCapacityError


class Phase(str, Enum):
    """Where a machine is in its life."""

    BUILDING = "building"
    RUNNING = "running"
    ENDED = "ended"
    FAILED = "failed"


# All others, and those that nobody knows yet, are of machines that may run.
_PHASES = {
    "BUILD": Phase.BUILDING,
    "SHUTOFF": Phase.ENDED,
    "SHELVED": Phase.ENDED,
    "SHELVED_OFFLOADED": Phase.ENDED,
    "ERROR": Phase.FAILED,
}
GONE = ("DELETED", "SOFT_DELETED")
RUNNING_POWER = 1


def phase(status: str, power: int | None) -> Phase:
    """Return the phase of a server with this status and power state.

    A move to another host that failed leaves ERROR, and the machine as it was.
    """
    found = _PHASES.get(status, Phase.RUNNING)
    return Phase.RUNNING if found is Phase.FAILED and power == RUNNING_POWER else found


@dataclass(frozen=True)
class Fault:
    """Why a machine could not be made: `code` for support."""

    code: str
    message: str
    capacity: bool = False

    def error(self) -> BackendError:
        """Return the error for the person."""
        if self.capacity:
            return NoCapacityError(self.message, reason=self.code)
        return BackendError(
            f"{self.message} Please tell the support team, code {self.code}.", reason=self.code
        )


_FAULTS = (
    (
        ("no valid host", "insufficient", "not enough", "exceeded max scheduling"),
        Fault(
            "openstack-no-host",
            "The cloud has no room for a machine of this size now. Please try later, or a smaller size.",
            capacity=True,
        ),
    ),
    (
        ("no fixed ip", "no more ip", "ipaddressgeneration", "no addresses", "no more free"),
        Fault(
            "openstack-no-address",
            "The cloud has no address left for a machine. Please try again later.",
            capacity=True,
        ),
    ),
    (
        ("block device mapping", "volume"),
        Fault("openstack-volume", "The cloud could not make the machine's disk."),
    ),
    (("image",), Fault("openstack-image", "The cloud could not use the software's image.")),
    (
        ("network", "port binding", "binding failed", "vif"),
        Fault("openstack-network", "The cloud could not connect the machine to its network."),
    ),
)
_UNKNOWN = Fault("openstack-build", "The cloud could not build the machine.")
_SILENT = Fault(
    "openstack-build-lost", "The cloud lost the machine while it was built, and does not say why."
)
QUOTA = Fault(
    "openstack-quota",
    "The part of the cloud that is set aside for sessions is full. Please try again later, or with a smaller "
    "size.",
    capacity=True,
)


def fault(message: str | None) -> Fault:
    """Return in our words what Nova says of a server in ERROR; it may say nothing."""
    if not message or not message.strip():
        return _SILENT
    text = message.lower()
    if "quota" in text:
        return QUOTA
    return next((found for parts, found in _FAULTS if any(part in text for part in parts)), _UNKNOWN)


def refusal(status: int, text: str) -> BackendError:
    """Return in our words why the cloud refused a request; the same status means several things."""
    lower = text.lower()
    if status == 413 or ("quota" in lower and status in (403, 409, 413)) or "exceeds allowed" in lower:
        return QUOTA.error()
    known = fault(text)
    if status == 409 and known.capacity:
        return known.error()
    if status == 403:
        return BackendError(
            "The portal lacks a right on the cloud. Please tell the support team, code openstack-rights.",
            reason="openstack-rights",
        )
    return BackendError(
        f"The cloud does not accept the machine. Please tell the support team, code openstack-{status}.",
        reason=f"openstack-{status}",
    )
