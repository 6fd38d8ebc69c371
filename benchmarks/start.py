"""The added time of a start: ours against a bare spawner, same command, same run.

    python -m benchmarks.start [local|kubernetes] [--starts 20] [--at-once 20]

Two hubs run side by side, ours with all services and one that is as JupyterHub comes. Both start the same
small web server, in turn, so that what else the machine does falls on both: on the machine against the
LocalProcessSpawner, or as pods of one image, in one namespace of the lab's cluster, against the KubeSpawner
(`pip install '.[benchmarks]'`). Then, if asked for, many are started at once on ours: are all served, in
which order, and for how long was the hub's loop ever busy with one thing. The cluster gives way to the hubs:
anywhere else it has machines of its own. Traffic goes to loopback and the lab's own network only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import median, report
from benchmarks.starting import (
    PERSON,
    TIMED_LOOP,
    WANTED,
    Elsewhere,
    Starts,
    measure_in_turn,
    sentence,
    start_at_once,
)
from tests.spawners.backends.kubernetes import Kubernetes
from tests.support.labs import lab
from tests.support.stack import Stack

# Twenty tiny ones fit on two processors, and no quota is in their way.
FLAVOURS: dict[str, dict[str, Any]] = {
    "small": {"title": "Small", "cpus": 0.25, "memory": "256M", "storage": "100M"},
    "tiny": {"title": "Tiny", "cpus": 0.08, "memory": "64M", "storage": "10M"},
}
TINY = {"user_options": {**WANTED["user_options"], "flavour": "tiny"}}
FREE = {"default": {}, "default_flavour": "small"}

SERVER = '''"""Answer as a single-user server would, at once."""
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", os.environ.get("JUPYTERHUB_VERSION", ""))
        self.end_headers()

    def log_message(self, *given):
        pass


place = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
HTTPServer((place.hostname, place.port), Answer).serve_forever()
'''

BARE_CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Spawner.cmd = {command!r}
c.JupyterHub.template_paths = []
c.JupyterHub.named_server_limit_per_user = 0
"""
LOCAL_CONFIG = """
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = given["folder"] + "/homes/{{username}}"
"""
KUBE_CONFIG = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
for name, value in {options!r}.items():
    setattr(c.KubeSpawner, name, value)
"""


class Hubs(NamedTuple):
    """Ours and the bare one; `order` says in which order its backend was given sessions, by their ids."""

    ours: Stack
    bare: Stack
    order: Callable[[], list[str]] = list


@contextmanager
def local(folder: Path) -> Iterator[Hubs]:
    """Yield both hubs, with processes of this machine as their sessions."""
    script = folder / "server.py"
    script.write_text(SERVER)
    command = [str(Path(sys.prefix).resolve() / "bin" / "python"), str(script)]
    options = {"command": command}
    profile = {"environment": "jupyter", "backend": "local", "flavours": [*FLAVOURS], "options": options}
    bare = BARE_CONFIG.format(command=command) + LOCAL_CONFIG.format()
    yield Hubs(
        Stack(
            folder / "ours",
            settings={"profiles": {"jupyter": profile}, "flavours": FLAVOURS, "quotas": FREE},
            extra=TIMED_LOOP,
        ),
        Stack(folder / "bare", configure={"services": []}, extra=bare),
    )


@contextmanager
def kubernetes(folder: Path) -> Iterator[Hubs]:
    """Yield both hubs, with pods as their sessions; both have the account that we ship."""
    with ExitStack() as stack:
        elsewhere = stack.enter_context(closing(Elsewhere()))
        with elsewhere.inside():
            variables = stack.enter_context(lab("kubernetes"))
        backend = stack.enter_context(closing(Kubernetes(variables)))
        command = ["/usr/bin/python3", "-c", SERVER]
        image = variables["DAAS_TEST_IMAGE"]
        given = backend.settings()
        # The tests' own compares hub and cluster every second.
        del given["lifecycle"]
        options = {"image": image, "command": command}
        profile = {
            "environment": "jupyter",
            "backend": "kubernetes",
            "flavours": [*FLAVOURS],
            "options": options,
        }
        given["environments"] = {"jupyter": {"title": "Jupyter", "kind": "jupyter"}}
        given |= {"profiles": {"jupyter": profile}, "flavours": FLAVOURS, "quotas": FREE}
        ours = backend.build_stack(folder / "ours", extra=TIMED_LOOP, **given)
        (folder / "bare").mkdir()
        access = backend.options(folder / "bare")
        programs = access["volumes"]
        size = FLAVOURS["small"]
        peer = {
            "namespace": backend.namespace,
            "image": image,
            "uid": 1000,
            "delete_grace_period": 1,
            "storage_pvc_ensure": False,
            **{"cpu_limit": size["cpus"], "cpu_guarantee": size["cpus"]},
            **{"mem_limit": size["memory"], "mem_guarantee": size["memory"]},
            "volumes": [
                {"name": f"v{number}", "hostPath": {"path": each["host_path"]}}
                for number, each in enumerate(programs)
            ],
            "volume_mounts": [
                {"name": f"v{number}", "mountPath": each["path"], "readOnly": True}
                for number, each in enumerate(programs)
            ],
        }
        bare = Stack(
            folder / "bare",
            configure={"services": []},
            extra=BARE_CONFIG.format(command=command) + KUBE_CONFIG.format(options=peer),
            hub_ip=backend.hub_ip,
            environment={"KUBECONFIG": access["kubeconfig"]},
        )
        with pods_as_they_come(backend) as order:
            yield Hubs(ours, bare, order)


@contextmanager
def pods_as_they_come(backend: Kubernetes) -> Iterator[Callable[[], list[str]]]:
    """Watch the cluster; yield what returns the sessions of all pods so far, in the order of their making."""
    label = "{.metadata.labels.jupyterhub-daas/session}"
    command = [
        *("kubectl", f"--kubeconfig={backend.cluster.kubeconfig}", "get", "pods", "-n", backend.namespace),
        *("--watch-only", "-o", f'jsonpath={label}{{"\\n"}}'),
    ]
    with tempfile.TemporaryFile("w+") as seen, subprocess.Popen(command, stdout=seen) as watch:

        def order() -> list[str]:
            seen.seek(0)
            # A pod is told of again whenever it changes.
            return list(dict.fromkeys(seen.read().split()))

        try:
            yield order
        finally:
            watch.terminate()


BACKENDS = {"local": (local, "LocalProcessSpawner"), "kubernetes": (kubernetes, "KubeSpawner")}


def main() -> None:
    """Start and stop in turn on both hubs, then many at once on ours, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", nargs="?", choices=BACKENDS, default="local")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=0)
    given = parser.parse_args()
    stacks, peer_name = BACKENDS[given.backend]
    with tempfile.TemporaryDirectory(prefix="daas-start-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with stacks(folder) as hubs:
            try:
                hubs.ours.start()
                hubs.bare.start()
                times, many = _measure(hubs, given.starts, given.at_once)
            finally:
                hubs.ours.stop()
                hubs.bare.stop()
    # The first two of each warm the hubs up.
    own, peer = median(times[0][2:]), median(times[1][2:])
    report(
        "start",
        f"a start takes {own} ms, with the bare {peer_name} {peer} ms: {own - peer:.0f} ms added"
        + (f". {sentence(many)}" if many else ""),
        {
            "backend": given.backend,
            "ours_ms": own,
            "bare_ms": peer,
            "added_ms": round(own - peer, 1),
            "ratio": round(own / peer, 3),
            **many,
            "load": [round(each, 1) for each in os.getloadavg()],
        },
    )


def _measure(hubs: Hubs, starts: int, at_once: int) -> tuple[tuple[list[float], list[float]], dict[str, Any]]:
    hubs.ours.accept_conditions(PERSON)
    hubs.bare.admin("POST", f"/users/{PERSON}").raise_for_status()
    own, peer = Starts(hubs.ours, PERSON, WANTED), Starts(hubs.bare, PERSON, {})
    times = measure_in_turn(own, peer, starts + 2)

    def order_of(ids: Mapping[str, str]) -> list[float]:
        order = hubs.order()
        return [float(order.index(each)) for each in ids.values()] if order else []

    many = Starts(hubs.ours, PERSON, TINY)
    return times, start_at_once(many, at_once, order_of) if at_once else {}


if __name__ == "__main__":
    main()
