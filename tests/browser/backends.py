"""A portal with several backends at once, whose people have real accounts: one person, one place each."""

import json
import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from jupyterhub_daas.spawners.backends.local.backend import DESKTOP_SCRIPT
from tests.spawners.backends.kubernetes import Kubernetes
from tests.support.kubernetes_lab import own_cluster
from tests.support.slurm_lab import SlurmLab, let_pass, slurm_backend
from tests.support.stack import Stack
from tests.support.unix_people import UnixPeople

PERSON, PASSWORD, PROPOSAL = "bruno", "bruno-facility", "20180301"
CPUS, MEMORY = 1, 1 << 30
NOTEBOOK = "what-a-session-has.ipynb"
COUNTS = "counts of the beamtime"
BACKENDS = ("local", "kubernetes", "slurm")
# Hub and sessions run from the tests' own environment: in a pod it is mounted where it is here.
VENV = Path(sys.prefix)
VARIABLES = {"JUPYTER_REMOTE_DESKTOP_PROXY_XSTARTUP": str(DESKTOP_SCRIPT)}
DESKTOP_FOLDERS = ("/etc/X11", "/etc/xdg/openbox", "/etc/fonts", "/etc/tigervnc", str(DESKTOP_SCRIPT.parent))

CELL = """
import json, os
from pathlib import Path

def held():
    "Return how much memory the control group leaves this process."
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, parts, path = line.split(":", 2)
        if "memory" in parts.split(","):
            for place in (f"/sys/fs/cgroup/memory{path}", "/sys/fs/cgroup/memory"):
                limit = Path(place, "memory.limit_in_bytes")
                if limit.exists():
                    return int(limit.read_text())

raw = Path("../raw")
print("RESULT", json.dumps({
    "uid": os.getuid(),
    "cpus": float(os.environ["CPU_LIMIT"]),
    "memory": int(os.environ["MEM_LIMIT"]),
    "held": held(),
    "file": (raw / "counts.txt").read_text(),
    "writable": os.access(raw, os.W_OK),
}))
"""


def _notebook() -> str:
    cell: dict[str, Any] = {"cell_type": "code", "id": "a", "metadata": {}, "source": CELL}
    cell |= {"execution_count": None, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    content = {"cells": [cell], "metadata": {"kernelspec": kernel}}
    return json.dumps({**content, "nbformat": 4, "nbformat_minor": 5})


def _profiles(options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Offer both kinds on each backend, each as an environment of its own."""
    kinds = ("jupyter", "desktop")
    keys = [(f"{kind}-{backend}", kind, backend) for backend in BACKENDS for kind in kinds]
    return {
        "flavours": {"small": {"title": "Small", "cpus": CPUS, "memory": "1G", "storage": "1G"}},
        "environments": {
            key: {"title": f"{kind.title()} {backend}", "kind": kind} for key, kind, backend in keys
        },
        "profiles": {
            key: {"environment": key, "backend": backend, "flavours": ["small"], "options": options[backend]}
            for key, _kind, backend in keys
        },
    }


def _in_pods(cluster: Kubernetes, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of backend and profiles for an image that has no programs of its own."""
    backend = cluster.options(folder)
    if "DAAS_TEST_IMAGE_IS_HOST" in cluster.lab_variables:
        backend["volumes"] += [{"host_path": place, "path": place} for place in (*DESKTOP_FOLDERS, str(VENV))]
    profile = {
        "image": cluster.lab_variables["DAAS_TEST_IMAGE"],
        "command": [str(VENV / "bin" / "python"), "-m", "jupyterhub.singleuser"],
        "variables": {**VARIABLES, "PATH": f"{VENV}/bin:/usr/bin:/bin"},
    }
    return backend, profile


def _make_real(stack: Stack, username: str) -> None:
    """Give the directory's person the name and numbers of the account, and her proposal its data."""
    entry = pwd.getpwnam(username)
    for file in ("facility.yaml", "accounts.yaml"):
        path = stack.folder / file
        text = path.read_text().replace(PERSON, username)
        text = text.replace("uid: 20002\n", f"uid: {entry.pw_uid}\n")
        path.write_text(text.replace("gid: 20002\n", f"gid: {entry.pw_gid}\n"))
    folder = stack.folder / "data" / PROPOSAL
    (folder / "raw" / "counts.txt").write_text(COUNTS)
    os.chown(folder / "processed", entry.pw_uid, entry.pw_gid)


def lay_out_notebook(site: Stack) -> None:
    """Put the notebook into the proposal's folder as it is before anybody ran it."""
    processed = site.folder / "data" / PROPOSAL / "processed"
    (processed / NOTEBOOK).write_text(_notebook())
    os.chown(processed / NOTEBOOK, processed.stat().st_uid, processed.stat().st_gid)


@contextmanager
def site_with_all(folder: Path) -> Iterator[tuple[Stack, str]]:
    """Yield a portal on this machine, a cluster and a batch system, and the username of its person."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        people = undo.enter_context(UnixPeople())
        home = folder / "home"
        username = people.add(PERSON, PASSWORD, "--user-group", "--home-dir", str(home))
        home.mkdir(mode=0o700)
        os.chown(home, pwd.getpwnam(username).pw_uid, pwd.getpwnam(username).pw_gid)
        place = folder / "slurm"
        place.mkdir()
        let_pass(place)
        slurm = SlurmLab(place)
        undo.callback(slurm.stop)
        slurm.start()
        cluster = undo.enter_context(closing(Kubernetes(undo.enter_context(own_cluster()))))
        (folder / "site").mkdir()
        pods, pod = _in_pods(cluster, folder / "site")
        batch = {"venv": str(VENV), "variables": VARIABLES}
        backends = {"kubernetes": pods, "slurm": dict(slurm_backend(slurm))}
        stack = Stack(
            folder / "site",
            settings=_profiles({"local": {}, "kubernetes": pod, "slurm": batch}),
            extra=f"c.DaasSpawner.backends = {backends!r}\n",
            as_root=True,
            hub_ip=cluster.hub_ip,
        )
        undo.callback(stack.stop)
        _make_real(stack, username)
        yield stack.start(), username
