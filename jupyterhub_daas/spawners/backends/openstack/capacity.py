"""Count what a project's limits leave: pure arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour

# Nova says so where it sets no limit.
UNLIMITED = -1


@dataclass(frozen=True)
class Size:
    """A flavor of the cloud: cpus, and memory in MiB."""

    cpus: int
    memory: int


@dataclass(frozen=True)
class Room:
    """One limit, and what of it is taken, by whomever in the project."""

    limit: int
    used: int

    def times(self, need: int, *, empty: bool = False) -> int | None:
        """Return how often a need fits; None where nothing limits it."""
        if self.limit == UNLIMITED or need <= 0:
            return None
        return max(0, (self.limit - (0 if empty else self.used)) // need)


Limits = tuple[Room, Room, Room]


def read(absolute: Any) -> Limits:
    """Read the SDK's absolute limits: machines, cpus, memory."""
    return (
        Room(absolute.instances, absolute.instances_used),
        Room(absolute.total_cores, absolute.total_cores_used),
        Room(absolute.total_ram, absolute.total_ram_used),
    )


def count(
    flavours: Sequence[Flavour], names: Mapping[str, str], sizes: Mapping[str, Size], limits: Limits
) -> tuple[Availability, ...]:
    """Say of each flavour how many machines the limits leave; `names` are the cloud's of our flavours."""
    return tuple(_of(each, sizes.get(names.get(each.key, each.key)), limits) for each in flavours)


def _of(flavour: Flavour, size: Size | None, limits: Limits) -> Availability:
    if size is None:
        return Availability(
            flavour=flavour.key, fits=False, free=0, reason="The cloud does not have this size."
        )
    needs = (1, size.cpus, size.memory)
    pairs = list(zip(limits, needs, strict=True))
    if any(room.times(need, empty=True) == 0 for room, need in pairs):
        reason = "This size is larger than the portal's part of the cloud."
        return Availability(flavour=flavour.key, fits=False, free=0, reason=reason)
    counted = [found for room, need in pairs if (found := room.times(need)) is not None]
    free = min(counted) if counted else None
    reason = "The portal's part of the cloud is full; a start waits for a machine." if free == 0 else ""
    return Availability(flavour=flavour.key, free=free, reason=reason)
