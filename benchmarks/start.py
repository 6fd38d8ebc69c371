"""The added time of a start: ours against a bare spawner, same command, same run.

    python -m benchmarks.start [local|kubernetes] [--starts 20]

Two hubs run side by side, ours with all services and one that is as JupyterHub comes. Both start the same
small web server, in turn, so that what else the machine does falls on both: on the machine against the
LocalProcessSpawner, or as pods of one image, in one namespace of the lab's cluster, against the KubeSpawner
(`pip install '.[benchmarks]'`). Traffic goes to loopback and the lab's own network only.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.measuring import median, report
from tests.spawners.backends.kubernetes import Kubernetes
from tests.support.labs import lab
from tests.support.stack import Stack
from tests.support.waiting import wait_until

PERSON = "amara"
OURS, BARE = "brave-curie", "bare"

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


def _start_and_stop(stack: Stack, token: str, name: str, body: dict[str, Any]) -> float:
    headers = {"Authorization": f"token {token}"}
    url = f"{stack.api}/users/{PERSON}/servers/{name}"
    begin = time.perf_counter()
    requests.post(url, headers=headers, json=body, timeout=60).raise_for_status()

    def ready() -> bool:
        servers = requests.get(f"{stack.api}/users/{PERSON}", headers=headers, timeout=60).json()["servers"]
        return bool(servers.get(name, {}).get("ready"))

    def is_gone() -> bool:
        found = requests.get(f"{stack.api}/users/{PERSON}", headers=headers, timeout=60).json()["servers"]
        return name not in found

    wait_until(ready, 60, what=f"{name} is ready")
    seconds = time.perf_counter() - begin
    stopped = requests.delete(url, headers=headers, timeout=60)
    stopped.raise_for_status()
    wait_until(is_gone, 60, what=f"{name} has stopped")
    return 1000 * seconds


def _bare_token(stack: Stack) -> str:
    stack.admin("POST", f"/users/{PERSON}").raise_for_status()
    answer = stack.admin("POST", f"/users/{PERSON}/tokens", json={"note": "benchmark"})
    answer.raise_for_status()
    return str(answer.json()["token"])


@contextmanager
def local(folder: Path) -> Iterator[tuple[Stack, Stack]]:
    """Yield both hubs, with processes of this machine as their sessions."""
    script = folder / "server.py"
    script.write_text(SERVER)
    command = [str(Path(sys.prefix).resolve() / "bin" / "python"), str(script)]
    options = {"command": command}
    profile = {"environment": "jupyter", "backend": "local", "flavours": ["small"], "options": options}
    bare = BARE_CONFIG.format(command=command) + LOCAL_CONFIG.format()
    yield (
        Stack(folder / "ours", settings={"profiles": {"jupyter": profile}}),
        Stack(folder / "bare", configure={"services": []}, extra=bare),
    )


@contextmanager
def kubernetes(folder: Path) -> Iterator[tuple[Stack, Stack]]:
    """Yield both hubs, with pods as their sessions; both have the account that we ship."""
    with lab("kubernetes") as variables, closing(Kubernetes(variables)) as backend:
        command = ["/usr/bin/python3", "-c", SERVER]
        image = variables["DAAS_TEST_IMAGE"]
        given = backend.settings()
        # The tests' own compares hub and cluster every second.
        del given["lifecycle"]
        options = {"image": image, "command": command}
        profile = {
            "environment": "jupyter",
            "backend": "kubernetes",
            "flavours": ["small"],
            "options": options,
        }
        given["environments"] = {"jupyter": {"title": "Jupyter", "kind": "jupyter"}}
        ours = backend.build_stack(folder / "ours", **{**given, "profiles": {"jupyter": profile}})
        (folder / "bare").mkdir()
        access = backend.options(folder / "bare")
        programs = access["volumes"]
        size = given["flavours"]["small"]
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
        yield ours, bare


BACKENDS = {"local": (local, "LocalProcessSpawner"), "kubernetes": (kubernetes, "KubeSpawner")}


def main() -> None:
    """Start and stop in turn on both hubs and print the difference of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", nargs="?", choices=BACKENDS, default="local")
    parser.add_argument("--starts", type=int, default=20)
    given = parser.parse_args()
    stacks, peer_name = BACKENDS[given.backend]
    with tempfile.TemporaryDirectory(prefix="daas-start-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with stacks(folder) as (ours, bare):
            try:
                ours.start()
                bare.start()
                times = _measure(ours, bare, given.starts)
            finally:
                ours.stop()
                bare.stop()
    # The first two of each warm the hubs up.
    own, peer = median(times[0][2:]), median(times[1][2:])
    report(
        "start",
        f"a start takes {own} ms, with the bare {peer_name} {peer} ms: {own - peer:.0f} ms added",
        {
            "backend": given.backend,
            "ours_ms": own,
            "bare_ms": peer,
            "added_ms": round(own - peer, 1),
            "ratio": round(own / peer, 3),
        },
    )


def _measure(ours: Stack, bare: Stack, starts: int) -> tuple[list[float], list[float]]:
    ours.accept_conditions(PERSON)
    tokens = ours.token(PERSON), _bare_token(bare)
    wanted = {"user_options": {"proposal": "20180301", "environment": "jupyter"}}
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(starts + 2):
        times[0].append(_start_and_stop(ours, tokens[0], OURS, wanted))
        times[1].append(_start_and_stop(bare, tokens[1], BARE, {}))
    return times


if __name__ == "__main__":
    main()
