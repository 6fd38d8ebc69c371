"""Count what is free, and since when there is nothing: pure arithmetic over nodes and pods.

Until when, a cluster does not know: sessions end when their people have what they came for.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
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
ENDED = ("Succeeded", "Failed")


def amount(quantity: object) -> float:
    """Return a Kubernetes quantity as a number: ``500m`` is 0.5, ``1Gi`` is 2**30."""
    text = str(quantity)
    digits = text.rstrip("".join({letter for unit in _UNITS for letter in unit}))
    return float(digits) * _UNITS[text[len(digits) :]]


def count(
    flavour: Flavour,
    nodes: Iterable[Object],
    pods: Iterable[Object],
    options: KubernetesOptions,
    offers: Sequence[PodOptions],
) -> Availability:
    """Say how many pods of a flavour fit now on nodes where one of the offers may go."""
    possible = [node for node in nodes if any(_is_for(node, each, options.gpu_resource) for each in offers)]
    living = [each for each in pods if each.get("status", {}).get("phase") not in ENDED]
    return _of(flavour, possible, living, options)


def _of(
    flavour: Flavour, nodes: Sequence[Object], pods: Sequence[Object], options: KubernetesOptions
) -> Availability:
    wanted = {
        "cpu": flavour.cpus,
        "memory": float(flavour.memory),
        "ephemeral-storage": float(flavour.storage),
        options.gpu_resource: float(flavour.gpus),
        "pods": 1.0,
    }
    # A node that is away now comes back: what it could hold will fit some time.
    fitting = [node for node in nodes if _times(wanted, _room(node, options)) > 0]
    if not fitting:
        gpu = flavour.gpus and not any(_room(node, options).get(options.gpu_resource) for node in nodes)
        reason = "No machine of the cluster has a GPU." if gpu else "No machine of the cluster is that large."
        return Availability(flavour=flavour.key, fits=False, free=0, reason=reason)
    serving = [node for node in fitting if _takes_sessions(node)]
    if not serving:
        reason = "The machines with room for this size are out of service."
        return Availability(flavour=flavour.key, free=0, reason=reason, since=_away_since(fitting))
    rooms = {node["metadata"]["name"]: _room(node, options) for node in serving}
    if free := _free(wanted, rooms, pods):
        return Availability(flavour=flavour.key, free=free)
    reason = "All machines with room for this size are taken."
    return Availability(flavour=flavour.key, free=0, reason=reason, since=_full_since(wanted, rooms, pods))


def _free(wanted: Mapping[str, float], rooms: Mapping[str, Mapping[str, float]], pods: Any) -> int:
    held: dict[str, dict[str, float]] = {}
    for pod in pods:
        _add(held.setdefault(pod.get("spec", {}).get("nodeName", ""), {}), pod)
    return sum(
        _times(wanted, {key: value - held.get(name, {}).get(key, 0.0) for key, value in room.items()})
        for name, room in rooms.items()
    )


def _full_since(
    wanted: Mapping[str, float], rooms: Mapping[str, Mapping[str, float]], pods: Sequence[Object]
) -> datetime | None:
    """Return when the pod came that took the last room, of those that are still there."""
    there = sorted(
        (pod for pod in pods if pod.get("spec", {}).get("nodeName") in rooms),
        key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")),
    )
    # Of a growing number of pods it is found by halving: full stays full.
    few, many = 0, len(there)
    while few < many:
        middle = (few + many) // 2
        if _free(wanted, rooms, there[:middle]):
            few = middle + 1
        else:
            many = middle
    return _moment(there[few - 1]["metadata"].get("creationTimestamp")) if few else None


def _away_since(nodes: Sequence[Object]) -> datetime | None:
    """Return when the last of some nodes went out of service; None if one does not tell."""
    moments = [_moment(_left_at(node)) for node in nodes]
    return max((each for each in moments if each is not None), default=None) if all(moments) else None


def _left_at(node: Object) -> object:
    for taint in node.get("spec", {}).get("taints") or ():
        if taint["key"] == f"{STATES}unschedulable":
            return taint.get("timeAdded")
    conditions = node.get("status", {}).get("conditions", ())
    return next((each.get("lastTransitionTime") for each in conditions if each["type"] == "Ready"), None)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")) if text else None


def _times(wanted: Mapping[str, float], room: Mapping[str, float]) -> int:
    return max(0, min(math.floor(room.get(key, 0.0) / need + 1e-9) for key, need in wanted.items() if need))


def _room(node: Object, options: KubernetesOptions) -> dict[str, float]:
    room = {key: amount(value) for key, value in node["status"].get("allocatable", {}).items()}
    room["cpu"] = room.get("cpu", 0.0) - options.reserve.cpus
    room["memory"] = room.get("memory", 0.0) - options.reserve.memory
    return room


def _add(held: dict[str, float], pod: Object) -> None:
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
