"""Sessions as pods of the lab's cluster, or of the one that DAAS_TEST_KUBECONFIG names."""

import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.spawners.backends.base import BackendUnderTest
from tests.spawners.portal import SERVER
from tests.support.kubernetes_lab import Cluster

ACCOUNT = "jupyterhub-daas"
HUB, SESSION = "jupyterhub-daas/hub", "jupyterhub-daas/session"


class Kubernetes(BackendUnderTest):
    """A namespace of its own on the cluster, and the rights that we ship for it."""

    name = "kubernetes"
    lab = "kubernetes"
    daemons = ("apiserver", "kubelet", "etcd", "scheduler", "controller-manager")
    patience = 120.0
    # Longer than clients of this API usually try; by hand also ten minutes.
    outage = float(os.environ.get("DAAS_OUTAGE_SECONDS", "70"))

    def __init__(self, lab: Mapping[str, str]) -> None:
        super().__init__(lab)
        self.cluster = Cluster(lab)
        self.hub_ip = lab["DAAS_TEST_HUB_IP"]
        self.namespace = f"daas-test-{secrets.token_hex(4)}"
        self.cluster.apply("rights.yaml", self.namespace)
        self.cluster.apply("count-nodes.yaml", self.namespace, **{"daas-nodes": f"nodes-{self.namespace}"})

    def close(self) -> None:
        """Remove the namespace, and wait for nothing."""
        for kind in ("clusterrole", "clusterrolebinding"):
            with suppress(RuntimeError):
                self.cluster.kubectl("delete", kind, f"jupyterhub-nodes-{self.namespace}", "--wait=false")
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def profile(self, mode: str) -> dict[str, Any]:
        """Run the small server from its text: any image with Python will do."""
        more = {"start_seconds": 10} if mode == "never" else {}
        return {
            "image": self.lab_variables["DAAS_TEST_IMAGE"],
            "command": ["/usr/bin/python3", "-c", SERVER.read_text(), mode],
            **more,
        }

    def settings(self) -> dict[str, Any]:
        """Offer small sizes: a machine of two cpus runs a few of them."""
        flavours = {
            key: {"title": key.title(), "cpus": cpus, "memory": "256M", "storage": "100M"}
            for key, cpus in (("small", 0.25), ("medium", 0.5))
        }
        return {**super().settings(), "flavours": flavours}

    def options(self, folder: Path) -> dict[str, Any]:
        """Give the hub the account that we ship, and the machine's programs to the lab's empty image."""
        path = folder / "kubeconfig"
        self.cluster.kubeconfig_of(self.namespace, ACCOUNT, path)
        host = "DAAS_TEST_IMAGE_IS_HOST" in self.lab_variables
        programs = [{"host_path": place, "path": place} for place in ("/usr", "/etc/alternatives")]
        return {
            "kubeconfig": str(path),
            "namespace": self.namespace,
            "data": [{"prefix": str(folder / "data"), "host_path": str(folder / "data")}],
            "volumes": programs if host else [],
            "grace_seconds": 2,
        }

    def pods(self, hub_id: str, session_id: str | None = None) -> list[dict[str, Any]]:
        """Return the pods of a hub, or of one session."""
        labels = f"{HUB}={hub_id}" + (f",{SESSION}={session_id}" if session_id else "")
        return self.cluster.get("pods", "-n", self.namespace, "-l", labels)

    def things(self, hub_id: str) -> frozenset[str]:
        """Ask the cluster for pods."""
        return frozenset(pod["metadata"]["labels"][SESSION] for pod in self.pods(hub_id))

    def traces(self, hub_id: str, session_id: str) -> Collection[object]:
        """Return the pod's identity, and how often its containers were started."""
        return [
            (pod["metadata"]["uid"], [each["containerID"] for each in pod["status"]["containerStatuses"]])
            for pod in self.pods(hub_id, session_id)
        ]

    def kill(self, hub_id: str, session_id: str) -> None:
        """Delete the pod as an administrator would."""
        labels = f"{HUB}={hub_id},{SESSION}={session_id}"
        self.cluster.kubectl("delete", "pod", "-n", self.namespace, "-l", labels, "--grace-period=1")

    def kill_daemon(self, daemon: str) -> None:
        """Kill one of the lab's daemons."""
        self.cluster.kill(daemon)

    def mend(self) -> None:
        """Start what is dead of the lab."""
        self.cluster.mend()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill the API server: the pods run on."""
        with self.cluster.without("apiserver"):
            yield
