"""What a cluster says of pods, events and nodes, and what becomes of it."""

from datetime import datetime, timezone
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.spawners.backends.kubernetes import capacity, reading
from jupyterhub_daas.spawners.backends.kubernetes.options import KubernetesOptions

GIB = 1 << 30


def pod(state: dict[str, Any] | None = None, *, name: str = "one", **more: Any) -> dict[str, Any]:
    """Return a pod on a node, its container in a state."""
    containers = [] if state is None else [{"name": "session", "state": state}]
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-11-26T10:00:00Z", **more.pop("metadata", {})},
        "spec": {"nodeName": "node1", **more.pop("spec", {})},
        "status": {"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": containers, **more},
    }


# --- a pod's state

ENDINGS = {
    "runs": (pod({"running": {}}), None),
    "waits": (pod({"waiting": {"reason": "ContainerCreating"}}), None),
    "nothing is known": ({}, None),
    "its container is not known yet": (pod(), None),
    "ended well": (pod({"terminated": {"exitCode": 0, "reason": "Completed"}}), (0, "Completed")),
    "ended with an error": (pod({"terminated": {"exitCode": 3, "reason": "Error"}}), (3, "Error")),
    "took too much": (pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), (137, "OOMKilled")),
    "evicted": (pod(phase="Failed", reason="Evicted"), (1, "Evicted")),
    "refused by its node": (
        pod(phase="Failed", reason="UnexpectedAdmissionError"),
        (1, "UnexpectedAdmissionError"),
    ),
    "a state of tomorrow": (pod({"resting": {}}, phase="Resting"), None),
}


@pytest.mark.parametrize(("found", "expected"), ENDINGS.values(), ids=ENDINGS.keys())
def test_an_end_is_what_the_cluster_calls_one(
    found: dict[str, Any], expected: tuple[int, str] | None
) -> None:
    ending = reading.ending(found)
    assert (ending and (ending.status, ending.reason)) == expected


def test_only_of_a_program_that_never_ran_the_cluster_s_words_are_kept() -> None:
    ended = {"exitCode": 1, "message": "its own words"}
    for reason, kept in (("Error", ""), ("StartError", "its own words")):
        found = reading.ending(pod({"terminated": {**ended, "reason": reason}}))
        assert found is not None
        assert found.detail == kept


def test_a_pod_has_an_address_once_its_session_runs() -> None:
    assert reading.address(pod({"running": {}})) == "10.1.2.3"
    assert reading.address(pod({"running": {}}, podIP="")) is None
    assert reading.address(pod({"waiting": {}})) is None
    assert reading.address(pod({"running": {}}, metadata={"deletionTimestamp": "now"})) is None
    assert reading.address({}) is None


@pytest.mark.parametrize("reason", reading.HOPELESS)
def test_what_waiting_does_not_cure_has_a_code_and_a_sentence(reason: str) -> None:
    found = reading.trouble(pod({"waiting": {"reason": reason, "message": "registry.example: secret words"}}))
    assert found is not None
    assert found.code
    assert found.message.endswith(".")
    # The cluster's own words are for the log.
    assert "secret words" in found.detail
    assert "registry.example" not in found.message


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "", "SomethingNew"])
def test_what_may_pass_is_waited_for(reason: str) -> None:
    assert reading.trouble(pod({"waiting": {"reason": reason}})) is None


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (reading.Ending(137, "OOMKilled"), "more memory"),
        (reading.Ending(1, "Evicted"), "ran out of space"),
        (reading.Ending(3, "Error"), "exit status 3"),
        (reading.Ending(128, "StartError", "exec: /secret/path"), "could not be started"),
    ],
)
def test_why_a_session_ended_is_a_sentence(ending: reading.Ending, words: str) -> None:
    assert words in reading.why_it_ended(ending)
    assert "secret" not in reading.why_it_ended(ending)


# --- events

EVENTS = {
    "no cpu": ("FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.", "enough free cpus"),
    "no memory": (
        "FailedScheduling",
        "0/3 nodes are available: 3 Insufficient memory.",
        "enough free memory",
    ),
    "no GPU": ("FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "a free GPU"),
    "no node": ("FailedScheduling", "0/3 nodes are available: 3 node(s) had taints", "with room"),
    "found": ("Scheduled", "Successfully assigned a/b to node1", "A machine was found"),
    "grows": ("TriggeredScaleUp", "pod triggered scale-up", "Adding a machine"),
    "storage": ("FailedMount", "MountVolume.SetUp failed for volume x", "Waiting for the storage"),
    "pulls": ("Pulling", 'Pulling image "registry.example/x"', "Fetching the software"),
    "pulled": ("Pulled", "Successfully pulled", "is there"),
    "runs": ("Started", "Started container session", "Starting the session"),
}


@pytest.mark.parametrize(("reason", "message", "words"), EVENTS.values(), ids=EVENTS.keys())
def test_an_event_becomes_words_for_a_scientist(reason: str, message: str, words: str) -> None:
    found = reading.words({"reason": reason, "message": message})
    assert found is not None
    progress, text = found
    assert 50 < progress < 80
    assert words in text
    for foreign in ("pod", "node", "image", "container", "registry"):
        assert foreign not in text.lower()


def test_an_event_that_tells_nothing_is_for_the_log() -> None:
    assert reading.words({"reason": "Created", "message": "Created container session"}) is None
    assert reading.words({}) is None


def test_a_place_in_line_counts_who_has_waited_longer() -> None:
    waiting = [
        pod(name=name, spec={"nodeName": ""}, metadata={"creationTimestamp": f"2026-11-26T10:0{minute}:00Z"})
        for name, minute in (("a", 1), ("b", 2), ("c", 3))
    ]
    others = [*waiting, pod({"running": {}}, metadata={"creationTimestamp": "2026-11-26T09:00:00Z"})]
    assert [reading.place_in_line(each, others) for each in waiting] == [0, 1, 2]
    event = {"reason": "FailedScheduling", "message": "Insufficient nvidia.com/gpu"}
    assert reading.words(event, before=3) == (51, "Waiting for a machine with a free GPU, 3 before you")


# --- what is free


def node(
    name: str = "node1", *, taints: Any = (), ready: str = "True", labels: Any = None, **room: str
) -> dict[str, Any]:
    """Return a node with 8 cpus and 32 GiB, unless said otherwise."""
    allocatable = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110", **room}
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
    }


def using(node_name: str = "node1", phase: str = "Running", **requests: str) -> dict[str, Any]:
    """Return a pod that holds something of a node."""
    return {
        "metadata": {"labels": {}},
        "spec": {"nodeName": node_name, "containers": [{"resources": {"requests": requests}}]},
        "status": {"phase": phase},
    }


SMALL = Flavour(key="small", title="Small", cpus=2, memory=4 * GIB)
GPU = Flavour(key="gpu", title="GPU", cpus=1, memory=GIB, gpus=1)
ACCELERATED = {"nvidia.com/gpu": "2"}
TAINT = [{"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"}]
OTHER = [{"key": "maintenance", "effect": "NoExecute"}]
AWAY = [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]
COUNTS = {
    "an empty node": (SMALL, [node()], [], {}, True, 4),
    "two": (SMALL, [node(), node("node2")], [], {}, True, 8),
    "cpus are taken": (SMALL, [node()], [using(cpu="5500m")], {}, True, 1),
    "memory counts too": (SMALL, [node(memory="9Gi")], [], {}, True, 2),
    "what has ended holds nothing": (SMALL, [node()], [using(phase="Succeeded", cpu="8")], {}, True, 4),
    "full": (SMALL, [node()], [using(cpu="7")], {}, True, 0),
    "too small": (SMALL, [node(cpu="1900m")], [], {}, False, 0),
    "a part is kept back": (SMALL, [node()], [], {"reserve": {"cpus": 3}}, True, 2),
    "away now": (SMALL, [node(ready="Unknown", taints=AWAY)], [], {}, True, 0),
    "one of two is away": (SMALL, [node(ready="False"), node("node2")], [], {}, True, 4),
    "a taint": (SMALL, [node(taints=OTHER)], [], {}, False, 0),
    "a taint that is put up with": (
        SMALL,
        [node(taints=OTHER)],
        [],
        {"tolerations": [{"key": "maintenance"}]},
        True,
        4,
    ),
    "not ours": (SMALL, [node()], [], {"node_selector": {"pool": "daas"}}, False, 0),
    "ours": (SMALL, [node(labels={"pool": "daas"})], [], {"node_selector": {"pool": "daas"}}, True, 4),
    "no GPU": (GPU, [node()], [], {}, False, 0),
    "GPUs": (GPU, [node(taints=TAINT, **ACCELERATED)], [], {}, True, 2),
    "one is taken": (GPU, [node(**ACCELERATED)], [using(**{"nvidia.com/gpu": "1"})], {}, True, 1),
}


@pytest.mark.parametrize(
    ("flavour", "nodes", "pods", "options", "fits", "free"), COUNTS.values(), ids=COUNTS.keys()
)
def test_counts(
    flavour: Flavour, nodes: Any, pods: Any, options: dict[str, Any], fits: bool, free: int
) -> None:
    given = KubernetesOptions.model_validate(options)
    found = capacity.count(flavour, nodes, pods, given, [given])
    assert (found.flavour, found.fits, found.free) == (flavour.key, fits, free)
    assert bool(found.reason) == (free == 0)


def test_a_node_counts_if_any_profile_may_go_there() -> None:
    given = KubernetesOptions()
    own = KubernetesOptions.model_validate({"tolerations": [{"key": "maintenance"}]})
    nodes = [node(taints=OTHER), node("node2")]
    assert capacity.count(SMALL, nodes, [], given, [given]).free == 4
    assert capacity.count(SMALL, nodes, [], given, [given, own]).free == 8


def at(minute: int, holding: dict[str, Any]) -> dict[str, Any]:
    """Return a pod that came in this minute."""
    came = {"creationTimestamp": f"2026-11-26T10:{minute:02}:00Z"}
    return {**holding, "metadata": {**holding["metadata"], **came}}


GONE = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-11-26T10:07:00Z"}
CORDON = [
    {
        "key": "node.kubernetes.io/unschedulable",
        "effect": "NoSchedule",
        "timeAdded": "2026-11-26T10:09:00Z",
    }
]


def out_of_service(name: str, **more: Any) -> dict[str, Any]:
    """Return a node of which the cluster says since when it takes nothing."""
    found = node(name, **more)
    if "taints" in more:
        found["spec"]["unschedulable"] = True
    else:
        found["status"]["conditions"] = [GONE]
    return found


SINCE = {
    "there is room": ([node()], [at(1, using(cpu="2"))], None),
    # 8 cpus: the pod of 10:03 took the last two, and the one of 10:05 came on top.
    "the last room was taken": (
        [node()],
        [at(5, using(cpu="1")), at(1, using(cpu="5")), at(3, using(cpu="2"))],
        3,
    ),
    "of two nodes": (
        [node(), node("node2")],
        [at(2, using(cpu="7")), at(4, using("node2", cpu="7")), at(6, using("elsewhere", cpu="7"))],
        4,
    ),
    "what ended holds nothing": ([node()], [at(2, using(phase="Failed", cpu="8")), at(4, using(cpu="8"))], 4),
    "away": ([out_of_service("node1")], [], 7),
    "closed by somebody": ([out_of_service("node1"), out_of_service("node2", taints=CORDON)], [], 9),
    "nobody says": ([node(ready="False")], [], None),
}


@pytest.mark.parametrize(("nodes", "pods", "minute"), SINCE.values(), ids=SINCE.keys())
def test_says_since_when_there_is_none(nodes: Any, pods: Any, minute: int | None) -> None:
    given = KubernetesOptions()
    found = capacity.count(SMALL, nodes, pods, given, [given])
    expected = None if minute is None else datetime(2026, 11, 26, 10, minute, tzinfo=timezone.utc)
    assert (found.since, found.until) == (expected, None)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("2", 2),
        ("500m", 0.5),
        ("1Gi", GIB),
        ("1G", 10**9),
        ("100Ki", 102400),
        ("0", 0),
        ("1e3", 1000),
        ("2E", 2e18),
    ],
)
def test_reads_quantities_as_the_cluster_writes_them(quantity: str, expected: float) -> None:
    assert capacity.amount(quantity) == pytest.approx(expected)
