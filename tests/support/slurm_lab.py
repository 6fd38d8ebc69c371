"""The Slurm of tests/labs/slurm for tests: asked, broken and mended."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.stack import ROOT
from tests.support.waiting import wait_until

UP, DOWN = (str(ROOT / "tests" / "labs" / "slurm" / name) for name in ("up", "down"))
# How far apart the hub's questions for its jobs are while sessions start.
INTERVAL_SECONDS = 0.5
DAEMONS = {
    "slurmctld": "ctld/slurmctld.pid",
    "slurmdbd": "ctld/slurmdbd.pid",
    "munged": "munge/munged.pid",
    "slurmd": "pid/slurmd.n1.pid",
    "slurmrestd": "pid/slurmrestd.pid",
    "sshd": "pid/sshd.pid",
}


class SlurmLab:
    """Start a Slurm, ask it, and break it.

    `prefix` is the command that changes the account: then everything, jobs included, is that account's.
    Without it root's Slurm has `accounts`; `database` adds slurmdbd with associations and limits, `rest`
    slurmrestd, and `login` an account as which sshd lets in. Each node has `cpus`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: Sequence[str] = (),
        accounts: Sequence[str] = (),
        database: bool = False,
        rest: bool = False,
        login: str = "",
        cpus: int = 16,
    ) -> None:
        self.folder, self._prefix = folder, list(prefix)
        self._variables = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "DAAS_SLURM_LAB": str(folder),
            "DAAS_SLURM_ACCOUNTS": " ".join(accounts),
            "DAAS_SLURM_DATABASE": str(int(database)),
            "DAAS_SLURM_REST": str(int(rest)),
            "DAAS_SLURM_SSH": login,
            "DAAS_SLURM_CPUS": str(cpus),
            "SLURM_CONF": self.conf,
        }
        self.rest_url, self.ssh_port = "", 0

    @property
    def conf(self) -> str:
        """Return the path of its configuration."""
        return str(self.folder / "etc" / "slurm.conf")

    def start(self) -> "SlurmLab":
        """Start what does not run."""
        if os.geteuid() == 0:
            self._run([UP, "--packages"], prefix=[])
        output = self._run([UP])
        for line in output.splitlines():
            if line.startswith("export DAAS_SLURM_REST_URL="):
                self.rest_url = line.partition("=")[2].strip("'")
            if line.startswith("export DAAS_SLURM_SSH_PORT="):
                self.ssh_port = int(line.partition("=")[2])
        return self

    def stop(self) -> None:
        """End everything, and remove its folder."""
        self._run([DOWN, "--purge"], check=False)

    def ask(self, *words: str, check: bool = True) -> str:
        """Run a program of Slurm as its owner and return what it says."""
        return self._run(list(words), check=check)

    def _run(self, words: list[str], *, check: bool = True, prefix: Sequence[str] | None = None) -> str:
        command = [*(self._prefix if prefix is None else prefix), *words]
        done = subprocess.run(
            command, env=self._variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/"
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}\n{done.stderr}")
        return done.stdout

    def jobs(self, states: str = "") -> dict[str, str]:
        """Return the state of each job that has not ended, by its name."""
        chosen = [f"--states={states}"] if states else []
        listed = self.ask("squeue", "--noheader", "--format=%j|%T", *chosen).splitlines()
        return dict(line.split("|", 1) for line in listed)

    def job_id(self, session_id: str) -> str:
        """Return the id of a session's job."""
        return next(job for name, job in self.job_ids().items() if name.endswith(session_id))

    def job_ids(self) -> dict[str, str]:
        """Return the id of each job, those that ended lately included, by its name."""
        listed = self.ask("squeue", "--noheader", "--states=all", "--format=%j|%i").splitlines()
        return dict(line.split("|", 1) for line in listed)

    def fill(self, *options: str) -> str:
        """Occupy the cluster with a job; return its id."""
        script = ["sbatch", "--parsable", "--output=/dev/null", "--chdir=/", "--job-name=fill", *options]
        return self.ask(*script, "--wrap=sleep 3600").strip()

    def is_up(self) -> bool:
        """Tell whether the controller answers and both nodes take jobs."""
        if "is UP" not in self.ask("timeout", "5", "scontrol", "ping", check=False):
            return False
        idle = self.ask("sinfo", "-h", "-N", "-t", "idle,alloc,mix", "-o", "%N", "-p", "cpu", check=False)
        return len(set(idle.split())) == 2

    def end(self, daemon: str) -> None:
        """End a daemon in order: a controller that is killed gives the numbers of its last jobs again."""
        pid = int((self.folder / DAEMONS[daemon]).read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, what=f"{daemon} is gone")

    def mend(self) -> None:
        """Start what is dead, and wait until jobs are taken again."""
        self.start()
        wait_until(self.is_up, 60, what="Slurm is up")

    def clean(self) -> None:
        """Cancel all jobs and wait until there is none."""
        listed = self.ask("squeue", "--noheader", "--format=%i").split()
        if listed:
            self.ask("scancel", *listed, check=False)
        wait_until(lambda: not self.jobs(), 60, what="no job is left")


def let_pass(folder: Path) -> None:
    """Let other accounts pass through root's folders on the way to one of theirs."""
    for parent in (folder, *folder.parents):
        if parent != Path("/") and parent.stat().st_uid == 0:
            parent.chmod(parent.stat().st_mode | 0o011)


def slurm_backend(lab: SlurmLab, **more: object) -> Mapping[str, object]:
    """Return the options of a backend for the lab: its nodes are all this machine."""
    return {
        "conf": lab.conf,
        "addresses": {"n1": "127.0.0.1", "n2": "127.0.0.1"},
        "listen": "127.0.0.1",
        "interval_seconds": 2,
        "start_interval_seconds": INTERVAL_SECONDS,
        "command_seconds": 5,
        **more,
    }
