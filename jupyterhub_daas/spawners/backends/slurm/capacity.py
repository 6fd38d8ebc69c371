"""What a cluster has free, from what sinfo says of each node in each partition.

By node and not by partition: a partition of unlike nodes has several lines, each of which is a part of it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.slurm.options import Place

MIB = 1 << 20
FIELDS = (
    "Partition",
    "Available",
    "NodeList",
    "StateLong",
    "CPUsState",
    "Memory",
    "AllocMem",
    "Gres",
    "GresUsed",
)
FORMAT = ",".join(f"{field}:|" for field in FIELDS)
USABLE = ("idle", "mixed", "allocated", "completing")
GPUS = re.compile(r"(?:^|,)gpu(?::([A-Za-z][^:(,]*))?:(\d+)")


@dataclass(frozen=True)
class Node:
    """One node of one partition; memory in MiB, GPUs by their type, the empty one for all together."""

    name: str
    partition: str
    default: bool
    usable: bool
    cpus: int
    memory: int
    gpus: dict[str, int]
    free_cpus: int
    free_memory: int
    free_gpus: dict[str, int]

    def holds(self, flavour: Flavour, gpu_type: str, *, now: bool) -> int:
        """Return how many sessions of a flavour fit on the node, beside what is there `now` or alone."""
        cpus, memory = (self.free_cpus, self.free_memory) if now else (self.cpus, self.memory)
        gpus = (self.free_gpus if now else self.gpus).get(gpu_type, 0)
        counts = [cpus // max(1, _up(flavour.cpus)), memory // max(1, _up(flavour.memory / MIB))]
        if flavour.gpus:
            counts.append(gpus // flavour.gpus)
        return max(0, min(counts))


def parse_nodes(output: str) -> tuple[Node, ...]:
    """Return the nodes in sinfo's answer; a line that is not understood counts for nothing."""
    nodes = (_parse(line.split("|")) for line in output.splitlines())
    return tuple(node for node in nodes if node is not None)


def _parse(fields: Sequence[str]) -> Node | None:
    try:
        partition, available, name, state, cpus, memory, allocated, gres, used = fields[: len(FIELDS)]
        _busy, idle, _other, total = (int(each) for each in cpus.split("/"))
        total_memory = int(memory)
        free_memory = total_memory - int(allocated)
    except ValueError:
        return None
    gpus, used_gpus = find_gpus(gres), find_gpus(used)
    return Node(
        name=name,
        partition=partition.rstrip("*"),
        default=partition.endswith("*"),
        usable=available == "up" and is_usable(state),
        cpus=total,
        memory=total_memory,
        gpus=gpus,
        free_cpus=idle,
        free_memory=free_memory,
        free_gpus={kind: count - used_gpus.get(kind, 0) for kind, count in gpus.items()},
    )


def is_usable(state: str) -> bool:
    """Tell whether a node in this state takes jobs, now or later."""
    return state.rstrip("*~#!%$@^-+") in USABLE and not state.endswith("*")


def find_gpus(text: str) -> dict[str, int]:
    """Return how many GPUs there are of each type, and under the empty one of all."""
    found: dict[str, int] = {}
    for kind, count in GPUS.findall(text):
        for key in {kind, ""}:
            found[key] = found.get(key, 0) + int(count)
    return found


def count(nodes: Iterable[Node], flavour: Flavour, places: Sequence[Place]) -> Availability:
    """Return what is free of a flavour at the places where its sessions may go."""
    among = [
        (node, place.gpu_type or "")
        for place in places
        for node in nodes
        if (node.partition == place.partition if place.partition else node.default)
    ]
    if not any(node.holds(flavour, kind, now=False) for node, kind in among):
        return Availability(flavour=flavour.key, fits=False, reason="No machine of the cluster is that big.")
    usable = [(node, kind) for node, kind in among if node.usable]
    if not usable:
        return Availability(
            flavour=flavour.key, free=0, reason="This part of the cluster is closed at present."
        )
    # A node that several partitions have counts once.
    best: dict[str, int] = {}
    for node, kind in usable:
        best[node.name] = max(best.get(node.name, 0), node.holds(flavour, kind, now=True))
    free = sum(best.values())
    reason = "" if free else "All machines of the cluster for this are in use."
    return Availability(flavour=flavour.key, free=free, reason=reason)


def _up(value: float) -> int:
    return int(-(-value // 1))
