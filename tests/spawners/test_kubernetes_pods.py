"""What a real cluster makes of the pods that we build: volumes, places, images. No hub is needed for that.

The hub's own account makes each pod, with the rights that we ship.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.spawners.backends.kubernetes import reading
from jupyterhub_daas.spawners.backends.kubernetes.options import (
    KubernetesOptions,
    KubernetesProfileOptions,
)
from jupyterhub_daas.spawners.backends.kubernetes.pod import build_pod, build_secret
from tests.spawners.backends.kubernetes import HUB, Kubernetes
from tests.support.kubernetes_lab import MANIFESTS, own_cluster
from tests.support.ports import free_port
from tests.support.waiting import wait_until

UID = 20001
HUB_ID = "0a1b2c3d"
ENDED = ("Succeeded", "Failed")
SECONDS = 60
# Of a registry that is there for one test only; such registries know bcrypt and nothing else.
REGISTRY_ACCOUNT = ("daas", "daas-registry")
REGISTRY_HASH = "$2y$05$abcdefghijklmnopqrstuuoyZxX0OdXoNhG0rSLYKtyx7si9YGX3m"
Pod = dict[str, Any]


class Site:
    """A namespace of a real cluster, and what its facility says of it."""

    def __init__(self, backend: Kubernetes, folder: Path) -> None:
        self.backend, self.cluster = backend, backend.cluster
        self.given = backend.options(folder)
        self.given["data"] = []

    @property
    def place(self) -> tuple[str, str]:
        """Return the namespace, as kubectl is told."""
        return "-n", self.backend.namespace

    def start(
        self,
        command: str,
        *,
        options: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        **launch: Any,
    ) -> Pod:
        """Start a session that is a shell command; return its pod."""
        backend = KubernetesOptions.model_validate({**self.given, **(options or {})})
        own = KubernetesProfileOptions.model_validate(
            {
                "image": self.backend.lab_variables["DAAS_TEST_IMAGE"],
                "command": ["/bin/sh", "-c", command],
                **(profile or {}),
            }
        )
        pod = build_pod(
            _launch(**launch),
            hub_id=HUB_ID,
            image=own.image,
            options=backend,
            pod=own.over(backend),
            environment={"HOME": "/home/amara"},
        )
        made = self._create(pod)
        self._create(build_secret(made, "token"))
        return made

    def _create(self, thing: Pod) -> Pod:
        words = ("create", "-f", "-", "-o", "json", *self.place)
        access = str(self.given["kubeconfig"])
        made: Pod = json.loads(self.cluster.kubectl(*words, given=json.dumps(thing), kubeconfig=access))
        return made

    def look(self, pod: Pod) -> Pod:
        """Return a pod as it is now."""
        words = ("get", "pod", pod["metadata"]["name"], "-o", "json", *self.place)
        found: Pod = json.loads(self.cluster.kubectl(*words))
        return found

    def end(self, pod: Pod) -> str:
        """Wait for the end of a session; return what it wrote."""
        wait_until(lambda: self.look(pod)["status"]["phase"] in ENDED, SECONDS, what="the pod ended")
        return self.cluster.kubectl("logs", pod["metadata"]["name"], *self.place)

    def run(self, command: str, **given: Any) -> str:
        """Run a session to its end; return what it wrote."""
        return self.end(self.start(command, **given))

    def trouble(self, pod: Pod) -> reading.Trouble:
        """Wait until a pod can't come up; return why."""
        found = wait_until(lambda: reading.trouble(self.look(pod)), SECONDS, what="the pod is in trouble")
        assert found is not None
        return found

    def events(self, pod: Pod, reason: str) -> list[Pod]:
        """Return the events of a pod with one reason."""
        selector = f"involvedObject.uid={pod['metadata']['uid']},reason={reason}"
        return self.cluster.get("events", f"--field-selector={selector}", *self.place)


def _launch(**more: Any) -> Launch:
    values: dict[str, Any] = {
        "session_id": secrets.token_hex(8),
        "session": "brave-curie",
        "person": {"username": "amara", "uid": UID, "gid": UID},
        "proposal": "20180301",
        "environment": {"key": "jupyter", "title": "Jupyter", "kind": "jupyter"},
        "backend": "kubernetes",
        "profile": "jupyter",
        "flavour": {"key": "small", "title": "Small", "cpus": 0.1, "memory": "64M"},
    }
    return Launch.model_validate({**values, **more})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A cluster of which these tests change the node."""
    with own_cluster() as variables, closing(Kubernetes(variables)) as backend:
        yield Site(backend, tmp_path_factory.mktemp("site"))


# --- volumes

RAW = {"source": "/archive/20180301/raw", "target": "proposals/20180301/raw", "mode": "ro"}
WORK = {"source": "/archive/20180301/work", "target": "proposals/20180301/work", "mode": "rw"}


def claim(site: Site, name: str) -> dict[str, Any]:
    """Have the cluster make a volume."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10M"}}}
    thing = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    site.cluster.kubectl("apply", "-f", "-", *site.place, given=json.dumps(thing))
    return {"claim": name}


def folder_of_nodes(site: Site, path: Path) -> dict[str, Any]:
    """Make a folder that every node has, as a mount of a parallel file system is."""
    path.mkdir(exist_ok=True)
    path.chmod(0o777)
    return {"host_path": str(path)}


@pytest.mark.parametrize("kind", ["claim", "host_path"])
def test_homes_and_data_are_folders_of_volumes(site: Site, tmp_path: Path, kind: str) -> None:
    if kind == "claim":
        homes, archive = claim(site, "homes"), claim(site, "archive")
    else:
        # A node passes root's own folders; the session does not have to.
        homes, archive = folder_of_nodes(site, tmp_path / "homes"), folder_of_nodes(site, tmp_path / "data")
    whole = [
        {"path": path, "read_only": False, **volume}
        for path, volume in (("/homes", homes), ("/data", archive))
    ]
    laid_out = (
        "mkdir -p /homes/visitors/amara /homes/visitors/bruno;"
        " cd /data; mkdir -p 20180301/raw 20180301/work 20190417;"
        " echo counts >20180301/raw/spectrum; echo done"
    )
    assert site.run(laid_out, profile={"volumes": whole}) == "done\n"

    options = {
        "home": {**homes, "sub_path": "visitors/{username}"},
        "data": [{"prefix": "/archive", **archive}],
    }
    seen = site.run(
        "cd ~/proposals; cat 20180301/raw/spectrum; ls; touch 20180301/raw/x || echo refused;"
        " echo fit >20180301/work/fit; echo note >~/note; ls -d ~/../bruno /archive 2>/dev/null; echo end",
        options=options,
        mounts=[RAW, WORK],
    )
    refusal = "touch: cannot touch '20180301/raw/x': Read-only file system"
    assert [line for line in seen.splitlines() if line != refusal] == [
        "counts",
        "20180301",
        "refused",
        "end",
    ]
    assert refusal in seen
    # What she wrote stays, for the next session and for her team.
    command = "cat ~/note ~/proposals/20180301/work/fit"
    assert site.run(command, options=options, mounts=[RAW, WORK]) == "note\nfit\n"


def test_an_export_that_cannot_be_mounted_is_waited_for_in_words(site: Site) -> None:
    # Nobody exports anything there: what the cluster makes of it is seen without a kernel that knows NFS.
    server = {"server": "127.0.0.1", "path": "/archive"}
    options = {
        "home": {"nfs": {"server": "127.0.0.1", "path": "/home"}},
        "data": [{"prefix": "/archive", "nfs": server}],
    }
    pod = site.start("echo never", options=options, mounts=[RAW, WORK])
    try:
        volumes = {volume["name"]: volume.get("nfs") for volume in site.look(pod)["spec"]["volumes"]}
        assert volumes["home"] == {"server": "127.0.0.1", "path": "/home"}
        assert volumes["data-0"] == server
        (event, *_) = wait_until(lambda: site.events(pod, "FailedMount"), SECONDS, what="a mount failed")
        assert reading.words(event) == (57, "Waiting for the storage")
        assert site.look(pod)["status"]["phase"] == "Pending"
    finally:
        site.cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", *site.place)


# --- places


@contextmanager
def node_for_sessions(site: Site) -> Iterator[None]:
    """Keep the node for those that choose it and put up with its taint."""
    (node, *_) = site.cluster.get("nodes")
    name = node["metadata"]["name"]
    site.cluster.kubectl("label", "node", name, "daas-pool=sessions")
    site.cluster.kubectl("taint", "node", name, "daas=sessions:NoSchedule")
    try:
        yield
    finally:
        site.cluster.kubectl("taint", "node", name, "daas-")
        site.cluster.kubectl("label", "node", name, "daas-pool-")


def test_a_profile_reaches_the_nodes_that_are_kept_for_it(site: Site) -> None:
    selector = {"daas-pool": "sessions"}
    taint = {"key": "daas", "operator": "Equal", "value": "sessions", "effect": "NoSchedule"}
    elsewhere = {"daas-pool": "elsewhere"}
    with node_for_sessions(site):
        kept_out = site.start("echo came")
        chose_else = site.start("echo came", profile={"node_selector": elsewhere, "tolerations": [taint]})
        both = {"node_selector": selector, "tolerations": [taint]}
        assert site.run("echo came", profile=both) == "came\n"
        # The backend's tolerations count for all its profiles.
        joined = {"options": {"tolerations": [taint]}, "profile": {"node_selector": selector}}
        assert site.run("echo came", **joined) == "came\n"
        for pod in (kept_out, chose_else):
            (event, *_) = wait_until(lambda: site.events(pod, "FailedScheduling"), SECONDS)  # noqa: B023
            assert reading.words(event) == (51, "Waiting for a machine with room")
            assert reading.is_waiting_for_a_node(site.look(pod))
    # Nothing stands against the one any more; no node is ever what the other asks for.
    assert site.end(kept_out) == "came\n"
    assert reading.is_waiting_for_a_node(site.look(chose_else))
    site.cluster.kubectl("delete", "pod", chose_else["metadata"]["name"], "--grace-period=0", *site.place)


@pytest.mark.parametrize("placing", ["spread", "fill"])
def test_either_way_of_placing_is_a_wish_and_no_condition(site: Site, placing: str) -> None:
    # One node for all: to spread they would need more, and to fill it the first one has nobody to join.
    pods = [site.start("echo came", options={"placing": placing}) for _ in range(2)]
    assert [site.end(pod) for pod in pods] == ["came\n", "came\n"]
    (affinity,) = site.look(pods[0])["spec"]["affinity"].values()
    (wish,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = wish["podAffinityTerm"]["labelSelector"]["matchLabels"]
    selected = site.cluster.get("pods", "-l", ",".join(f"{k}={v}" for k, v in labels.items()), *site.place)
    assert {pod["metadata"]["name"] for pod in pods} <= {each["metadata"]["name"] for each in selected}


# --- images


def test_what_runs_is_the_image_of_that_digest(site: Site) -> None:
    pod = site.start("echo came")
    assert site.end(pod) == "came\n"
    (status,) = site.look(pod)["status"]["containerStatuses"]
    digest = site.backend.lab_variables["DAAS_TEST_IMAGE"].partition("@")[2]
    assert digest in status["imageID"]


def test_a_pull_policy_is_the_cluster_s(site: Site) -> None:
    absent = "localhost/absent@sha256:" + "0" * 64
    pod = site.start("echo came", profile={"image": absent, "pull_policy": "Never"})
    assert site.trouble(pod).code == "image-missing"
    # It is there, and all the same asked for where nobody answers.
    pod = site.start("echo came", profile={"pull_policy": "Always"})
    assert site.trouble(pod).code == "image-pull"


@contextmanager
def private_registry(site: Site, folder: Path) -> Iterator[tuple[str, str]]:
    """Start a registry that wants a password, with the lab's image in it; yield its address and the image."""
    lab = site.cluster.folder
    assert lab is not None, "the nodes of another cluster don't reach a registry of ours"
    address = f"127.0.0.1:{free_port()}"
    passwords, config = folder / "passwords", folder / "registry.json"
    passwords.write_text(f"{REGISTRY_ACCOUNT[0]}:{REGISTRY_HASH}\n")
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
                "http": {"addr": address},
                "auth": {"htpasswd": {"realm": "lab", "path": str(passwords)}},
            }
        )
    )
    pushed, image = f"{address}/daas/host:1", site.backend.lab_variables["DAAS_TEST_IMAGE"]
    ctr = ["ctr", "--address", str(lab / "containerd.sock"), "--namespace", "k8s.io", "images"]
    push = [*ctr, "push", "--plain-http", "--user", ":".join(REGISTRY_ACCOUNT), pushed, image]
    with (folder / "registry.log").open("w") as log:
        registry = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        wait_until(lambda: subprocess.run(push, capture_output=True).returncode == 0, SECONDS, what="a push")
        yield address, f"{address}/daas/host@{image.partition('@')[2]}"
    finally:
        registry.terminate()
        registry.wait()


def test_an_image_of_a_private_registry_needs_its_secret(site: Site, tmp_path: Path) -> None:
    with private_registry(site, tmp_path) as (address, image):
        # Whoever has no secret gets no image, while the node does not have it.
        pod = site.start("echo came", profile={"image": image})
        found = site.trouble(pod)
        assert found.code == "image-pull"
        assert "came" not in found.message
        name, password = REGISTRY_ACCOUNT
        access = [f"--docker-server={address}", f"--docker-username={name}", f"--docker-password={password}"]
        site.cluster.kubectl("create", "secret", "docker-registry", "facility", *access, *site.place)
        own = {"image": image, "pull_secrets": ["facility"]}
        pod = site.start("echo came", profile=own)
        assert site.end(pod) == "came\n"
        messages = [event["message"] for event in site.events(pod, "Pulled")]
        assert any(each.startswith("Successfully pulled image") for each in messages), messages


# --- what else we ship


def test_the_networks_select_sessions_and_nothing_else(site: Site) -> None:
    session = site.start("sleep 600")
    name = session["metadata"]["name"]
    try:
        site.cluster.apply("networks.yaml", site.backend.namespace)
        policies = site.cluster.get("networkpolicies", *site.place)
        assert {each["metadata"]["name"] for each in policies} == {
            "jupyterhub-daas-in",
            "jupyterhub-daas-out",
        }
        for policy in policies:
            labels = policy["spec"]["podSelector"]["matchLabels"].items()
            selected = site.cluster.get("pods", "-l", ",".join(f"{k}={v}" for k, v in labels), *site.place)
            assert name in {pod["metadata"]["name"] for pod in selected}
            assert {pod["metadata"]["labels"][HUB] for pod in selected} == {HUB_ID}
            if policy["spec"]["policyTypes"] == ["Ingress"]:
                (rule,) = policy["spec"]["ingress"]
                port = session["spec"]["containers"][0]["ports"][0]["containerPort"]
                assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    finally:
        site.cluster.kubectl("delete", "pod", name, "--grace-period=0", *site.place)


def test_the_nodes_fetch_images_beforehand(site: Site) -> None:
    manifest = yaml.safe_load((MANIFESTS / "pull-images.yaml").read_text())
    manifest["metadata"]["namespace"] = site.backend.namespace
    spec = manifest["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    container["image"] = image = site.backend.lab_variables["DAAS_TEST_IMAGE"]
    if "DAAS_TEST_IMAGE_IS_HOST" in site.backend.lab_variables:
        # Its programs are the machine's.
        spec["volumes"] = [{"name": "programs", "hostPath": {"path": "/usr"}}]
        container["volumeMounts"] = [{"name": "programs", "mountPath": "/usr", "readOnly": True}]
    site.cluster.kubectl("apply", "-f", "-", given=json.dumps(manifest))
    words = ("pods", "-l", "jupyterhub-daas/part=images", *site.place)
    try:
        wait_until(lambda: any(pod["status"]["phase"] == "Running" for pod in site.cluster.get(*words)), 60)
        (pod, *_) = site.cluster.get(*words)
        assert pod["spec"]["containers"][0]["image"] == image
        assert pod["status"]["containerStatuses"][0]["imageID"]
    finally:
        site.cluster.kubectl("delete", "daemonset", "jupyterhub-daas-images", *site.place)
