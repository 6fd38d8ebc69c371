"""Count what is free: pure arithmetic over nodes and pods."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.kubernetes.options import (
    KubernetesOptions,
    PodOptions,
    Toleration,
)

Object = Mapping[str, Any]
_UNITS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60},
}
# Taints by which the cluster itself tells the state of a node.
STATES = "node.kubernetes.io/"


def amount(quantity: object) -> float:
    """Return a Kubernetes quantity as a number: ``500m`` is 0.5, ``1Gi`` is 2**30."""
    text = str(quantity)
    digits = text.rstrip("".join({letter for unit in _UNITS for letter in unit}))
    return float(digits) * _UNITS[text[len(digits) :]]


def count(
    flavours: Sequence[Flavour],
    nodes: Iterable[Object],
    pods: Iterable[Object],
    options: KubernetesOptions,
    pod: PodOptions,
) -> tuple[Availability, ...]:
    """Say of each flavour how many such pods fit now, given the nodes and what is on them."""
    possible = [node for node in nodes if _is_for(node, pod, options.gpu_resource)]
    held: dict[str, dict[str, float]] = {}
    for each in pods:
        _add(held.setdefault(each.get("spec", {}).get("nodeName", ""), {}), each)
    return tuple(_of(flavour, possible, held, options) for flavour in flavours)


def _of(
    flavour: Flavour,
    nodes: Sequence[Object],
    held: Mapping[str, Mapping[str, float]],
    options: KubernetesOptions,
) -> Availability:
    wanted = {
        "cpu": flavour.cpus,
        "memory": float(flavour.memory),
        "ephemeral-storage": float(flavour.storage),
        options.gpu_resource: float(flavour.gpus),
        "pods": 1.0,
    }
    free, fits = 0, False
    for node in nodes:
        room = _room(node, options)
        name = node["metadata"]["name"]
        # A node that is away now comes back: what it could hold will fit some time.
        fits = fits or _times(wanted, room) > 0
        if not _takes_sessions(node):
            continue
        left = {key: value - held.get(name, {}).get(key, 0.0) for key, value in room.items()}
        free += _times(wanted, left)
    if not fits:
        gpu = flavour.gpus and not any(_room(node, options).get(options.gpu_resource) for node in nodes)
        reason = "No machine of the cluster has a GPU." if gpu else "No machine of the cluster is that large."
        return Availability(flavour=flavour.key, fits=False, free=0, reason=reason)
    reason = "" if free else "All machines with room for this size are taken; a start waits for one."
    return Availability(flavour=flavour.key, free=free, reason=reason)


def _times(wanted: Mapping[str, float], room: Mapping[str, float]) -> int:
    return max(0, min(math.floor(room.get(key, 0.0) / need + 1e-9) for key, need in wanted.items() if need))


def _room(node: Object, options: KubernetesOptions) -> dict[str, float]:
    room = {key: amount(value) for key, value in node["status"].get("allocatable", {}).items()}
    room["cpu"] = room.get("cpu", 0.0) - options.reserve.cpus
    room["memory"] = room.get("memory", 0.0) - options.reserve.memory
    return room


def _add(held: dict[str, float], pod: Object) -> None:
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return
    held["pods"] = held.get("pods", 0.0) + 1
    for container in pod["spec"].get("containers", ()):
        for key, value in container.get("resources", {}).get("requests", {}).items():
            held[key] = held.get(key, 0.0) + amount(value)


def _takes_sessions(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not node.get("spec", {}).get("unschedulable")


def _is_for(node: Object, pod: PodOptions, gpu_resource: str) -> bool:
    """Tell whether such pods may go to a node at all, whatever its state is now."""
    labels = node["metadata"].get("labels", {})
    if any(labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    gpus = Toleration(key=gpu_resource)
    return all(
        taint.get("effect") == "PreferNoSchedule"
        or taint["key"].startswith(STATES)
        or any(_tolerates(each, taint) for each in (*pod.tolerations, gpus))
        for taint in node.get("spec", {}).get("taints", ())
    )


def _tolerates(toleration: Toleration, taint: Object) -> bool:
    if toleration.effect is not None and toleration.effect != taint.get("effect"):
        return False
    if toleration.key is None:
        return toleration.operator == "Exists"
    if toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or (toleration.value or "") == taint.get("value", "")
