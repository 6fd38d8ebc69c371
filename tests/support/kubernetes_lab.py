"""The cluster of tests/labs/kubernetes, or another one: asked and broken as an administrator could."""

import json
import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tests.support.labs import LABS, cache

MANIFESTS = Path(str(files("jupyterhub_daas"))) / "spawners" / "backends" / "kubernetes" / "manifests"


def _run(program: str, folder: Path, *words: str) -> str:
    command = [LABS / "kubernetes" / program, *words]
    place = {**os.environ, "DAAS_KUBERNETES_LAB": str(folder)}
    done = subprocess.run(command, env=place, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{command} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def own_cluster() -> Iterator[Mapping[str, str]]:
    """Bring up a cluster that nobody else uses, beside the others, and yield its variables."""
    folder = cache() / "labs" / "kubernetes" / secrets.token_hex(3)
    try:
        words = shlex.split(_run("up", folder))
        yield dict(word.split("=", 1) for word in words if "=" in word)
    finally:
        _run("down", folder, "--purge")


class Cluster:
    """An administrator's view of a cluster."""

    def __init__(self, lab: Mapping[str, str]) -> None:
        self.kubeconfig = lab["DAAS_TEST_KUBECONFIG"]
        self.folder = Path(lab["DAAS_TEST_LAB_FOLDER"]) if "DAAS_TEST_LAB_FOLDER" in lab else None

    def kubectl(self, *words: str, given: str | None = None, kubeconfig: str = "") -> str:
        """Run kubectl; return what it printed."""
        command = ["kubectl", f"--kubeconfig={kubeconfig or self.kubeconfig}", *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    def get(self, *words: str) -> list[dict[str, Any]]:
        """Return the objects that kubectl gets."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *words, "-o", "json"))["items"]
        return found

    def apply(self, manifest: str, namespace: str, **replaced: str) -> None:
        """Apply one of our manifests, with another namespace and other words replaced."""
        text = (MANIFESTS / manifest).read_text().replace("daas-sessions", namespace)
        for before, after in replaced.items():
            text = text.replace(before, after)
        self.kubectl("apply", "-f", "-", given=text)

    def kubeconfig_of(self, namespace: str, account: str, path: Path) -> None:
        """Write the access of a service account."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        place = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = json.dumps({**request, "spec": {"expirationSeconds": 86_400, "audiences": []}})
        answer = json.loads(self.kubectl("create", f"--raw={place}", "-f", "-", given=body))
        config = json.loads(self.kubectl("config", "view", "--minify", "--flatten", "--raw", "-o", "json"))
        config["users"][0]["user"] = {"token": answer["status"]["token"]}
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)

    def set_gpus(self, count: int) -> None:
        """Have the first node say that it has so many GPUs, which nothing stands behind."""
        (node, *_) = self.get("nodes")
        # The node itself writes there, too; without a version ours counts whatever was there.
        del node["metadata"]["resourceVersion"]
        for part in ("capacity", "allocatable"):
            node["status"][part]["nvidia.com/gpu"] = str(count)
        place = f"--raw=/api/v1/nodes/{node['metadata']['name']}/status"
        self.kubectl("replace", place, "-f", "-", given=json.dumps(node))

    # --- the lab's own parts

    def kill(self, daemon: str) -> None:
        """Kill one of the lab's daemons as a crash would."""
        assert self.folder is not None, "another cluster's own parts are not killed"
        pid = int((self.folder / "pid" / daemon).read_text())
        os.kill(pid, signal.SIGKILL)

    def mend(self) -> None:
        """Start what is dead of the lab."""
        assert self.folder is not None, "another cluster's own parts are not started"
        _run("up", self.folder)

    @contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """Have the cluster without one of its daemons."""
        self.kill(daemon)
        try:
            yield
        finally:
            self.mend()
