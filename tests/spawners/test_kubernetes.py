"""What a real cluster does to sessions: limits, mounts, words, logs; and what the hub may do there."""

import json
import os
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.errors import NotFoundError
from jupyterhub_daas.spawners.backends.kubernetes import KubernetesBackend
from tests.spawners.backends.kubernetes import Kubernetes
from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.support.kubernetes_lab import own_cluster
from tests.support.waiting import wait_for, wait_until

NAME, OTHER, THIRD = "brave-curie", "calm-bohr", "keen-raman"
MIB = 1 << 20
UID, GROUP = 20001, 21210
ABSENT = "localhost/absent@sha256:" + "0" * 64
FURTHER: dict[str, dict[str, Any]] = {
    "absent": {"image": ABSENT},
    "nowhere": {"node_selector": {"daas-test": "nowhere"}},
    "broken": {"command": ["/usr/bin/no-such-program"]},
    "impatient": {"node_selector": {"daas-test": "nowhere"}, "wait_seconds": 3},
}
FLAVOURS: dict[str, dict[str, Any]] = {
    "huge": {"title": "Huge", "cpus": 4000, "memory": "256M"},
    "gpu": {"title": "With a GPU", "cpus": 0.1, "memory": "128M", "gpus": 1},
}


@pytest.fixture(scope="module")
def backend() -> Iterator[Kubernetes]:
    """A namespace of a cluster whose node these tests change."""
    with own_cluster() as variables, closing(Kubernetes(variables)) as found:
        yield found


@pytest.fixture(scope="module")
def running(backend: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal on it, with further ways to fail and sizes."""
    given = backend.settings()
    for key, more in FURTHER.items():
        given["environments"][key] = {"title": key.title(), "kind": "jupyter"}
        profile = given["profiles"]["works"]
        options = {**profile["options"], **more}
        given["profiles"][key] = {**profile, "environment": key, "options": options}
    given["flavours"].update(FLAVOURS)
    given["profiles"]["works"]["flavours"] = list(given["flavours"])
    folder = tmp_path_factory.mktemp("kubernetes")
    groups = f"{{**c.DaasSpawner.backends['kubernetes'], 'groups': {{'id21': {GROUP}}}}}"
    stack = backend.build_stack(
        folder, extra=f"c.DaasSpawner.backends = {{'kubernetes': {groups}}}\n", **given
    )
    directory = folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(f"gid: {UID}\n", f"gid: {UID}\n    groups: [id21]\n"))
    data = folder / "data" / PROPOSAL
    (data / "raw" / "spectrum.mca").write_text("counts")
    try:
        stack.hand_over()
        os.chown(data / "processed", UID, UID)
        yield Portal(stack.start(), things=backend.things, patience=backend.patience)
    finally:
        stack.stop()


@pytest.fixture
def portal(running: Portal) -> Iterator[Portal]:
    """The portal without any session, before the test and after it."""
    running.clean()
    yield running
    running.clean()


@pytest.fixture
async def seen(running: Portal, backend: Kubernetes, tmp_path: Path) -> AsyncIterator[KubernetesBackend]:
    """The backend as the hub has it, with the rights that we ship."""
    options = {**backend.options(tmp_path), "request_seconds": 60}
    found = KubernetesBackend(hub_id=running.hub_id, shared_account=False, options=options)
    yield found
    await found.cluster.close()


def wanted(environment: str = "works", **more: str) -> dict[str, str]:
    """Return the options of a start."""
    return {"proposal": PROPOSAL, "environment": environment, **more}


def start(portal: Portal, name: str = NAME, **more: str) -> str:
    """Start a session that works, wait until it can be entered, and return its session id."""
    answer = portal.start(name, wanted(**more))
    assert answer.status_code in (201, 202), answer.text
    portal.wait_ready(name)
    return portal.session_id(name)


def progress(portal: Portal, name: str) -> AbstractContextManager[Iterator[str]]:
    """Read what the person reads while a session starts."""
    return portal.stack.admin_stream(f"/users/amara/servers/{name}/progress", seconds=portal.patience)


def python(program: str) -> str:
    """Return the shell command for a program."""
    return f"/usr/bin/python3 -c {shlex.quote(program)}"


# --- inside a session


def test_a_session_is_the_person_and_nobody_else(portal: Portal) -> None:
    start(portal)
    assert portal.run(NAME, "id -u; id -g; id -G").split() == [str(UID), str(UID), str(UID), str(GROUP)]
    status = dict(line.split(":\t", 1) for line in portal.run(NAME, "cat /proc/self/status").splitlines())
    assert [int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd")] == [0, 0, 0, 0]
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert portal.run(NAME, "ls -d /var/run/secrets 2>/dev/null") == ""
    folder = f"/home/amara/proposals/{PROPOSAL}"
    assert portal.run(NAME, "echo $HOME $USER $DAAS_FOLDER").split() == ["/home/amara", "amara", folder]


def test_data_is_read_only_or_writable_as_said(portal: Portal) -> None:
    start(portal)
    assert portal.run(NAME, "ls ~/proposals; cat $DAAS_FOLDER/raw/spectrum.mca") == f"{PROPOSAL}\ncounts"
    # Root could not write there either: it is the mount that is read-only.
    mounts = [line.split() for line in portal.run(NAME, "cat /proc/mounts").splitlines()]
    modes = {place: options.split(",")[0] for _, place, _, options, *_ in mounts}
    folder = f"/home/amara/proposals/{PROPOSAL}"
    assert (modes[f"{folder}/raw"], modes[f"{folder}/processed"]) == ("ro", "rw")
    assert portal.run(NAME, "touch $DAAS_FOLDER/raw/x || echo refused") == "refused\n"
    assert portal.run(
        NAME, "echo fit > $DAAS_FOLDER/processed/fit.txt && echo done; touch ~/x && echo done"
    ) == ("done\ndone\n")
    result = portal.stack.folder / "data" / PROPOSAL / "processed" / "fit.txt"
    assert (result.read_text(), result.stat().st_uid) == ("fit\n", UID)
    portal.stop(NAME)
    assert result.exists()


def test_a_session_cannot_take_more_memory_than_its_size(portal: Portal) -> None:
    start(portal)
    taken = "import sys; taken = b'x' * (int(sys.argv[1]) << 20); print(len(taken) >> 20)"
    assert portal.run(NAME, f"{python(taken)} 100; echo $?") == "100\n0\n"
    assert portal.run(NAME, f"{python(taken)} 400; echo $?").split()[-1] == "137"
    assert portal.run(NAME, "echo here") == "here\n"


def test_a_session_cannot_take_more_cpus_than_its_size(portal: Portal) -> None:
    start(portal)
    group = "/sys/fs/cgroup/cpu/cpu"
    quota, period = portal.run(NAME, f"cat {group}.cfs_quota_us {group}.cfs_period_us").split()
    assert int(quota) / int(period) == pytest.approx(0.25)
    busy = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    portal.run(NAME, python(busy))
    throttled = dict(line.split() for line in portal.run(NAME, f"cat {group}.stat").splitlines())
    assert int(throttled["nr_throttled"]) > 0


def test_no_secret_is_where_others_can_read(portal: Portal, backend: Kubernetes) -> None:
    session_id = start(portal)
    token = portal.run(NAME, "echo $JUPYTERHUB_API_TOKEN").strip()
    assert len(token) > 20
    (pod,) = backend.pods(portal.hub_id, session_id)
    assert token not in json.dumps(pod)
    assert token not in backend.cluster.kubectl("get", "events", "-n", backend.namespace, "-o", "json")
    assert token not in portal.stack.log()


def test_nothing_of_a_session_is_left(portal: Portal, backend: Kubernetes) -> None:
    session_id = start(portal)

    def left() -> list[str]:
        found = backend.cluster.get("pods,secrets", "-n", backend.namespace)
        return [each["kind"] for each in found if session_id in each["metadata"]["name"]]

    assert sorted(left()) == ["Pod", "Secret"]
    portal.stop(NAME)
    assert "Pod" not in left()
    # The cluster removes it with its owner.
    wait_until(lambda: not left(), 60)


# --- words


@pytest.mark.parametrize(
    ("environment", "words", "logged"),
    [
        (
            "absent",
            "not found, or could not be fetched. Please tell the support team, code image-pull",
            ABSENT,
        ),
        ("broken", "could not be started. Please tell the support team, code StartError", "no-such-program"),
        ("nowhere", "No machine of the cluster", ""),
        ("impatient", "had room in time", ""),
    ],
)
def test_a_start_that_is_hopeless_ends_in_words(
    portal: Portal, backend: Kubernetes, environment: str, words: str, logged: str
) -> None:
    with quiet_log(portal.stack):
        message = portal.refusal(NAME, wanted(environment))
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)
    assert words in message
    # A scientist is told nothing of the cluster's own; support finds it in the log.
    for foreign in (backend.namespace, "Pod", "localhost/", "node(s)", "no-such-program"):
        assert foreign not in message
    assert logged in portal.stack.log()


def test_a_size_that_no_machine_has_is_refused_at_once(portal: Portal) -> None:
    assert "that large" in portal.refusal(NAME, wanted(flavour="huge"))
    assert portal.held("amara") == {}


def test_a_namespace_that_is_full_says_so(portal: Portal, backend: Kubernetes) -> None:
    place = ("-n", backend.namespace)
    backend.cluster.kubectl("create", "quota", "room", "--hard=pods=0", *place)
    try:
        wait_until(lambda: "hard" in backend.cluster.get("quota", *place)[0].get("status", {}), 60)
        with quiet_log(portal.stack):
            message = portal.refusal(NAME, wanted())
            assert "set aside for sessions is full" in message
            assert "exceeded quota" not in message
            wait_until(lambda: not portal.held("amara"), 30)
    finally:
        backend.cluster.kubectl("delete", "quota", "room", *place)


def test_a_start_tells_how_far_it_is(portal: Portal) -> None:
    portal.start(NAME, wanted("slow"))
    with progress(portal, NAME) as lines:
        told = [json.loads(line[5:])["message"] for line in lines if line.startswith("data:")]
    positions = [
        next((number for number, text in enumerate(told) if text.startswith(words)), None)
        for words in ("Starting JupyterLab", "A machine was found", "Waiting for JupyterLab")
    ]
    assert None not in positions, told
    assert positions == sorted(positions)  # type: ignore[type-var]


def reads(portal: Portal, name: str, words: str) -> bool:
    """Tell whether the person reads these words while a session starts."""
    with progress(portal, name) as lines:
        return any(words in line for line in lines)


def form(portal: Portal) -> str:
    """Return what the launch form says of the size with a GPU."""
    address = f"{portal.stack.service_url('portal')}launch?proposal={PROPOSAL}&environment=works"
    page = portal.stack.login("amara").get(address, timeout=30).text
    return page.partition('value="works/gpu"')[2].partition("</table>")[0]


def test_whoever_waits_for_a_gpu_sees_her_place_and_keeps_it(portal: Portal, backend: Kubernetes) -> None:
    assert "has a GPU" in portal.refusal(NAME, wanted(flavour="gpu"))
    wait_until(lambda: "disabled" in form(portal), 30, what="what there is none of is greyed")
    backend.cluster.set_gpus(1)
    try:
        wait_until(lambda: portal.start(NAME, wanted(flavour="gpu")).status_code in (201, 202), 60)
        portal.wait_ready(NAME)
        (pod,) = backend.pods(portal.hub_id)
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert portal.start(OTHER, wanted(flavour="gpu")).status_code == 202
        assert reads(portal, OTHER, "Waiting for a free GPU: you are next")
        assert portal.start(THIRD, wanted(flavour="gpu")).status_code == 202
        assert reads(portal, THIRD, "Waiting for a free GPU: 1 before you")
        wait_until(lambda: "are taken. Since" in form(portal), 30, what="the form says since when")
        portal.stop(NAME, remove=True)
        portal.wait_ready(OTHER)
        assert portal.model(THIRD)["pending"] == "spawn"
        assert backend.things(portal.hub_id) == {portal.session_id(OTHER)}
        portal.stop(OTHER, remove=True)
        portal.wait_ready(THIRD)
    finally:
        backend.cluster.set_gpus(0)


# --- what pages ask


async def test_a_log_is_read_while_a_session_runs_and_after_it_failed(
    portal: Portal, seen: KubernetesBackend
) -> None:
    session_id = start(portal)
    portal.run(NAME, "for n in 1 2 3; do echo line $n > /proc/1/fd/1; done")

    async def written() -> str:
        try:
            return await seen.read_log(session_id, lines=2)
        except NotFoundError:
            return ""

    assert await wait_for(lambda: written(), 30) == "line 2\nline 3\n"
    await seen.keep_log(session_id)
    portal.stop(NAME)
    assert await seen.read_log(session_id, lines=1) == "line 3\n"
    with pytest.raises(NotFoundError):
        await seen.read_log("f" * 16, lines=1)


async def test_counts_what_is_free(portal: Portal, seen: KubernetesBackend) -> None:
    small = Flavour(key="small", title="Small", cpus=0.25, memory=256 * MIB)
    huge = Flavour(key="huge", title="Huge", cpus=4000, memory=MIB)
    before = {each.flavour: each for each in await seen.resources((small, huge))}
    assert before["small"].free
    assert (before["huge"].fits, before["huge"].free) == (False, 0)
    start(portal)
    (after,) = await seen.resources((small,))
    assert after.free == before["small"].free - 1


# --- rights


def rules_of(backend: Kubernetes, kubeconfig: Path, namespace: str) -> set[tuple[str, str]]:
    """Return verb and resource of all that an account may do in a namespace, as the cluster says."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    answer = backend.cluster.kubectl(
        *("create", "--raw=/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "-f", "-"),
        given=json.dumps({**review, "spec": {"namespace": namespace}}),
        kubeconfig=str(kubeconfig),
    )
    found = set()
    for rule in json.loads(answer)["status"]["resourceRules"]:
        # What the cluster lets everybody ask: what they may themselves.
        if rule["apiGroups"] != ["authorization.k8s.io"]:
            assert rule["apiGroups"] == [""], rule
            found |= {(verb, resource) for verb in rule["verbs"] for resource in rule["resources"]}
    return found


def test_the_hub_has_the_rights_that_we_ship_and_no_others(portal: Portal, backend: Kubernetes) -> None:
    kubeconfig = portal.stack.folder / "kubeconfig"
    pods = {(verb, "pods") for verb in ("create", "list", "watch", "delete")}
    events = {(verb, "events") for verb in ("list", "watch")}
    nodes = {("list", "nodes")}
    own = rules_of(backend, kubeconfig, backend.namespace)
    assert own == {*pods, *events, *nodes, ("get", "pods/log"), ("create", "secrets")}
    assert rules_of(backend, kubeconfig, "default") == nodes
    assert rules_of(backend, kubeconfig, "kube-system") == nodes


@pytest.mark.parametrize(
    "words",
    [
        "get secrets",
        "exec {pod} -- id",
        "label pod {pod} a=b",
        "get pods --namespace=kube-system",
        "get pods --all-namespaces",
        "delete namespace {namespace}",
        "delete pods --all --namespace=default",
        "create serviceaccount other",
        "get configmaps",
        "get pod {pod} --as=system:admin",
        "cordon node1",
    ],
)
def test_the_hub_s_account_is_refused_whatever_else_it_tries(
    portal: Portal, backend: Kubernetes, words: str
) -> None:
    session_id = start(portal) if "{pod}" in words else ""
    pod = f"daas-{portal.hub_id.lower()}-{session_id}"
    command = words.format(pod=pod, namespace=backend.namespace).split()
    if not any(word.startswith(("--namespace", "--all-namespaces")) for word in command):
        command.insert(0, f"--namespace={backend.namespace}")
    with pytest.raises(RuntimeError, match=r"(?i)forbidden"):
        backend.cluster.kubectl(*command, kubeconfig=str(portal.stack.folder / "kubeconfig"))
