"""A start on Slurm: ours against batchspawner's bare SlurmSpawner, same cluster, same command, same run.

    python -m benchmarks.start_slurm [--starts 10] [--at-once 50]

Two hubs run side by side on one real Slurm, ours with all services and one that is as JupyterHub comes. Both
start the same small web server, in turn, so that what else the machine does falls on both. Then many starts
are asked of ours at once: how often it asked Slurm for its jobs meanwhile, beside how often one question for
all sessions at each interval would be; whether the order was kept; and for how long the hub's loop was ever
busy with one thing. The cluster gives way to the hubs: anywhere else it has machines of its own. Needs the
extra `benchmarks`; traffic goes to loopback only.
"""

import argparse
import os
import pwd
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import median, report
from benchmarks.start import SERVER
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
from tests.support.slurm_lab import INTERVAL_SECONDS, SlurmLab, let_pass, slurm_backend
from tests.support.stack import Stack, unprivileged

# batchspawner tells a server its port on the command line.
SCRIPT = SERVER.replace(
    "HTTPServer((place.hostname, place.port)",
    'import sys\nport = int(sys.argv[1].partition("=")[2]) if sys.argv[1:] else place.port\n'
    "HTTPServer((place.hostname, port)",
)
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

OUR_CONFIG = "c.DaasSpawner.backends = {backends!r}\n"


def questions(lab: SlurmLab) -> int:
    """Return how often the controller was asked for its jobs so far."""
    found = re.search(r"REQUEST_JOB_INFO\s*\(.*?count:(\d+)", lab.ask("sdiag"))
    return int(found[1]) if found else 0


def start_many(lab: SlurmLab, starts: Starts, count: int) -> dict[str, float]:
    """Return what many starts at once took, and how often the hub asked for its jobs meanwhile."""
    asked, begin = questions(lab), time.perf_counter()

    def order_of(session_ids: Mapping[str, str]) -> list[float]:
        # Before we ask for jobs ourselves.
        rate.append((questions(lab) - asked) / (time.perf_counter() - begin))
        # Slurm counts jobs as they are submitted.
        jobs = {name.rpartition("-")[2]: int(job) for name, job in lab.job_ids().items()}
        return [jobs[each] for each in session_ids.values()]

    rate: list[float] = []
    return {**start_at_once(starts, count, order_of), "questions_per_second": round(rate[0], 2)}


def bring_up(folder: Path, command: list[str], elsewhere: Elsewhere) -> tuple[SlurmLab, Stack, Stack]:
    """Start the cluster, and make both hubs; all is one unprivileged account's."""
    prefix, uid = unprivileged()
    place = folder / "lab"
    place.mkdir()
    let_pass(place)
    os.chown(place, uid, -1)
    with elsewhere.inside():
        lab = SlurmLab(place, prefix=prefix, cpus=CPUS).start()
    profile = {"environment": "jupyter", "backend": "slurm", "flavours": ["small"]}
    small = {"title": "Small", "cpus": 1, "memory": "512M"}
    backends = {"slurm": slurm_backend(lab, homes=str(folder / "ours" / "homes"))}
    ours = Stack(
        folder / "ours",
        settings={
            "environments": {"jupyter": {"title": "Jupyter", "kind": "jupyter"}},
            "flavours": {"small": small},
            "profiles": {"jupyter": {**profile, "options": {"command": command}}},
            "quotas": {"default": {}, "default_flavour": "small"},
        },
        extra=OUR_CONFIG.format(backends=backends) + TIMED_LOOP,
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
        elsewhere = Elsewhere()
        lab, ours, bare = bring_up(folder, command, elsewhere)
        try:
            ours.start()
            bare.start()
            ours.accept_conditions(PERSON)
            bare.admin("POST", f"/users/{account}").raise_for_status()
            own, peer = Starts(ours, PERSON, WANTED), Starts(bare, account, {})
            times = measure_in_turn(own, peer, given.starts + 1)
            many = start_many(lab, own, given.at_once)
        finally:
            ours.stop()
            bare.stop()
            lab.stop()
            elsewhere.close()
    # The first of each warms the hubs up.
    own_ms, peer_ms = median(times[0][1:]), median(times[1][1:])
    ratio = round(own_ms / peer_ms, 3)
    report(
        "start_slurm",
        f"a start takes {own_ms:.0f} ms, with the bare SlurmSpawner {peer_ms:.0f} ms: {ratio} of it. "
        f"{sentence(many)}. Slurm is asked {many['questions_per_second']} times a second, "
        f"one question at each interval is {1 / INTERVAL_SECONDS:g}",
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
