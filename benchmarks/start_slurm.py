"""A start on Slurm: ours against batchspawner's bare SlurmSpawner, same cluster, same command, same run.

    python -m benchmarks.start_slurm [--starts 10] [--at-once 50]

Two hubs run side by side on one real Slurm, ours with all services and one that is as JupyterHub comes. Both
start the same small web server, in turn, so that what else the machine does falls on both. Then many starts
are asked of ours at once: how often Slurm was asked for its jobs meanwhile, whether the order was kept, and
for how long the hub's loop was ever busy with one thing. Needs the extra `benchmarks`; traffic goes to
loopback only.
"""

import argparse
import json
import os
import pwd
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import requests

from benchmarks.measuring import median, report
from benchmarks.start import SERVER
from tests.support.slurm_lab import SlurmLab, let_pass, slurm_backend
from tests.support.stack import Stack, unprivileged
from tests.support.waiting import wait_until

# batchspawner tells a server its port on the command line.
SCRIPT = SERVER.replace(
    "HTTPServer((place.hostname, place.port)",
    'import sys\nport = int(sys.argv[1].partition("=")[2]) if sys.argv[1:] else place.port\n'
    "HTTPServer((place.hostname, port)",
)
PERSON, OURS, BARE = "amara", "brave-curie", "bare"
WANTED = {"user_options": {"proposal": "20180301", "environment": "jupyter"}}
ADJECTIVES = ("brave", "calm", "kind", "wise", "merry")
SCIENTISTS = ("bohr", "born", "bragg", "curie", "dirac", "euler", "fermi", "gauss", "hahn", "hooke")
PATIENCE = 100.0
# Of each of the two nodes: all that are asked for at once find a place.
CPUS = 64

# As batchspawner's own script, less the login shell that it has Slurm start first.
BARE_CONFIG = """
import batchspawner

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "batchspawner.SlurmSpawner"
c.JupyterHub.template_paths = []
c.JupyterHub.named_server_limit_per_user = 0
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 3}}
c.Spawner.cmd = {command!r}
c.Spawner.env_keep = ["PATH", "SLURM_CONF"]
c.BatchSpawnerBase.exec_prefix = ""
# The lab's nodes are all this machine.
c.SlurmSpawner.state_exechost_exp = "127.0.0.1"
c.SlurmSpawner.req_homedir = given["folder"]
c.SlurmSpawner.req_memory = "512M"
c.SlurmSpawner.req_nprocs = "1"
c.SlurmSpawner.batch_script = '''#!/bin/bash
#SBATCH --output=/dev/null
#SBATCH --job-name=spawner-jupyterhub
#SBATCH --chdir={{{{homedir}}}}
#SBATCH --export={{{{keepvars}}}}
#SBATCH --mem={{{{memory}}}}
#SBATCH --cpus-per-task={{{{nprocs}}}}
set -euo pipefail
trap 'echo SIGTERM received' TERM
which jupyterhub-singleuser
{{{{cmd}}}}
'''
"""

# Each thing that the loop does for long is noted, with seconds of the clock and of this thread's CPU: on a
# busy machine the first one also counts what other processes do.
OUR_CONFIG = """
c.DaasSpawner.backends = {backends!r}

import asyncio.events
import time

_run = asyncio.events.Handle._run


def _timed(handle):
    clock, cpu = time.perf_counter(), time.thread_time()
    _run(handle)
    took = time.perf_counter() - clock, time.thread_time() - cpu
    if took[0] > 0.02:
        with open(given["folder"] + "/blocks", "a") as file:
            file.write(json.dumps(took) + "\\n")


asyncio.events.Handle._run = _timed
"""


class Starts:
    """Start sessions of one hub."""

    def __init__(self, stack: Stack, person: str, body: dict[str, dict[str, str]]) -> None:
        self._api, self._person, self._body = f"{stack.api}/users/{person}", person, body
        self._headers = {"Authorization": f"token {stack.service_token}"}

    def begin(self, name: str) -> None:
        """Ask for a session."""
        url = f"{self._api}/servers/{name}"
        requests.post(url, headers=self._headers, json=self._body, timeout=PATIENCE).raise_for_status()

    def ready(self) -> frozenset[str]:
        """Return the names of the sessions that can be entered."""
        servers = requests.get(self._api, headers=self._headers, timeout=PATIENCE).json()["servers"]
        return frozenset(name for name, server in servers.items() if server["ready"])

    def pending(self) -> bool:
        """Tell whether anything is under way."""
        servers = requests.get(self._api, headers=self._headers, timeout=PATIENCE).json()["servers"]
        return any(server["pending"] for server in servers.values())

    def end(self, name: str) -> None:
        """End a session and wait until it has."""
        url = f"{self._api}/servers/{name}"
        requests.delete(url, headers=self._headers, timeout=PATIENCE).raise_for_status()
        wait_until(lambda: name not in self.ready(), PATIENCE, what=f"{name} has stopped")

    def measure(self, name: str) -> float:
        """Return how long a start takes, in milliseconds."""
        begin = time.perf_counter()
        self.begin(name)
        wait_until(lambda: name in self.ready(), PATIENCE, what=f"{name} is ready")
        took = 1000 * (time.perf_counter() - begin)
        self.end(name)
        return took


def start_at_once(starts: Starts, stack: Stack, lab: SlurmLab, count: int) -> dict[str, object]:
    """Start many and return what it took."""
    names = [f"{first}-{second}" for first in ADJECTIVES for second in SCIENTISTS][:count]
    blocks = stack.folder / "blocks"
    blocks.write_text("[0, 0]\n")
    blocks.chmod(0o666)
    asked, begin = questions(lab), time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        for name in names:
            pool.submit(starts.begin, name)
            # As far apart as the arrivals must be to have an order.
            time.sleep(0.02)
    wait_until(lambda: not starts.pending(), PATIENCE, what="nothing is under way")
    seconds = time.perf_counter() - begin
    started = [name for name in names if name in starts.ready()]
    noted = [json.loads(line) for line in blocks.read_text().splitlines()]
    return {
        "at_once": count,
        "not_started": count - len(started),
        "seconds": round(seconds, 1),
        "questions_per_second": round((questions(lab) - asked) / seconds, 2),
        "out_of_order": out_of_order(stack, lab, started),
        "longest_block_ms": round(1000 * max(clock for clock, _cpu in noted), 1),
        "longest_block_cpu_ms": round(1000 * max(cpu for _clock, cpu in noted), 1),
    }


def questions(lab: SlurmLab) -> int:
    """Return how often the controller was asked for its jobs so far."""
    found = re.search(r"REQUEST_JOB_INFO\s*\(.*?count:(\d+)", lab.ask("sdiag"))
    return int(found[1]) if found else 0


def out_of_order(stack: Stack, lab: SlurmLab, names: list[str]) -> int:
    """Return how many sessions were submitted before one that was asked for earlier."""
    servers = stack.admin("GET", f"/users/{PERSON}").json()["servers"]
    jobs = [lab.job_id(servers[name]["state"]["session_id"]) for name in names]
    return sum(int(job) > int(later) for job, later in pairwise(jobs))


def bring_up(folder: Path, command: list[str]) -> tuple[SlurmLab, Stack, Stack]:
    """Start the cluster, and make both hubs; all is one unprivileged account's."""
    prefix, uid = unprivileged()
    place = folder / "lab"
    place.mkdir()
    let_pass(place)
    os.chown(place, uid, -1)
    lab = SlurmLab(place, prefix=prefix, cpus=CPUS).start()
    profile = {"environment": "jupyter", "backend": "slurm", "flavours": ["small"]}
    small = {"title": "Small", "cpus": 1, "memory": "512M"}
    backends = {"slurm": slurm_backend(lab, homes=str(folder / "ours" / "homes"), start_interval_seconds=0.5)}
    ours = Stack(
        folder / "ours",
        settings={
            "environments": {"jupyter": {"title": "Jupyter", "kind": "jupyter"}},
            "flavours": {"small": small},
            "profiles": {"jupyter": {**profile, "options": {"command": command}}},
            "quotas": {"default": {}, "default_flavour": "small"},
        },
        extra=OUR_CONFIG.format(backends=backends),
    )
    bare = Stack(
        folder / "bare",
        configure={"services": []},
        extra=BARE_CONFIG.format(command=command),
        environment={"SLURM_CONF": lab.conf},
    )
    return lab, ours, bare


def main() -> None:
    """Start and stop in turn on both hubs, then many at once on ours, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daas-start-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        script = folder / "server.py"
        script.write_text(f"#!{Path(sys.prefix).resolve() / 'bin' / 'python'}\n" + SCRIPT)
        script.chmod(0o755)
        command = [str(script)]
        # batchspawner knows only people who have an account here.
        account = pwd.getpwuid(unprivileged()[1]).pw_name
        lab, ours, bare = bring_up(folder, command)
        try:
            ours.start()
            bare.start()
            ours.accept_conditions(PERSON)
            bare.admin("POST", f"/users/{account}").raise_for_status()
            own, peer = Starts(ours, PERSON, WANTED), Starts(bare, account, {})
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(given.starts + 1):
                times[0].append(own.measure(OURS))
                times[1].append(peer.measure(BARE))
            many = start_at_once(own, ours, lab, given.at_once)
        finally:
            ours.stop()
            bare.stop()
            lab.stop()
    # The first of each warms the hubs up.
    own_ms, peer_ms = median(times[0][1:]), median(times[1][1:])
    ratio = round(own_ms / peer_ms, 3)
    report(
        "start_slurm",
        f"a start takes {own_ms:.0f} ms, with the bare SlurmSpawner {peer_ms:.0f} ms: {ratio} of it. "
        f"{many['at_once']} at once take {many['seconds']} s, {many['not_started']} are refused, Slurm is "
        f"asked {many['questions_per_second']} times a second, {many['out_of_order']} out of order, the "
        f"loop busy for at most {many['longest_block_ms']} ms ({many['longest_block_cpu_ms']} of CPU)",
        {
            "ours_ms": own_ms,
            "bare_ms": peer_ms,
            "ratio": ratio,
            **many,
            "load": [round(each, 1) for each in os.getloadavg()],
        },
    )


if __name__ == "__main__":
    main()
