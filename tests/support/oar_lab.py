"""The OAR of tests/labs/oar for tests: entered, asked, broken and mended.

It has a root and a network of its own, out of which nothing leads: a portal that uses it runs in there, as on
a submit host, and so does the test that speaks to that portal.
"""

import ctypes
import json
import os
import pwd
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.stack import ACCOUNT, ROOT, Stack
from tests.support.waiting import wait_until

UP, DOWN = (str(ROOT / "tests" / "labs" / "oar" / name) for name in ("up", "down"))
CLONE_NEWNET = 0x40000000
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin"


class OarLab:
    """A lab that is up, or brought up by `start`, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> "OarLab":
        """Start what does not run."""
        _run([UP], DAAS_OAR_LAB=str(self.folder))
        return self

    def stop(self) -> None:
        """End everything, and remove its folder."""
        _run([DOWN, "--purge"], DAAS_OAR_LAB=str(self.folder))

    # --- being in it

    @property
    def prefix(self) -> list[str]:
        """Return the command that runs another one inside, as root."""
        pid = (self.folder / "keeper.pid").read_text().strip()
        return ["nsenter", "--target", pid, "--mount", "--net", "--root", "--wd", "--"]

    def path(self, inside: str) -> Path:
        """Return where a file of the lab is for us: below its own /etc, /home, /run or /var."""
        return self.folder / inside.lstrip("/")

    @contextmanager
    def network(self) -> Iterator[None]:
        """Be in the lab's network; what is started meanwhile is in it, too."""
        pid = (self.folder / "keeper.pid").read_text().strip()
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _enter(other)
            yield
        finally:
            _enter(own)
            os.close(own)
            os.close(other)

    def admit(self, stack: Stack) -> Stack:
        """Have a portal that is not yet started run inside, under an account of the same number there."""
        account = [] if stack.as_root else self.identity(ACCOUNT)
        stack.prefix = [*self.prefix, "env", f"--chdir={stack.folder}", *account]
        return stack

    def identity(self, name: str) -> list[str]:
        """Return the command that changes to an account of this machine, which the lab gets too."""
        here = pwd.getpwnam(name)
        self.add_account(name, "--uid", str(here.pw_uid))
        return ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups"]

    def add_account(self, name: str, *options: str) -> None:
        """Make an account with a home and a group of its own, unless it is there."""
        command = shlex.join(["useradd", "--create-home", "--shell=/bin/bash", *options, name])
        self.ask("flock", "/run/accounts", "sh", "-c", f"id {shlex.quote(name)} >/dev/null 2>&1 || {command}")

    # --- asking OAR

    def ask(self, *words: str, check: bool = True, stdin: str = "") -> str:
        """Run a program inside as root and return what it says."""
        return _run([*self.prefix, *words], check=check, stdin=stdin)

    def jobs(self) -> dict[int, dict[str, Any]]:
        """Return all jobs that have not ended, by their number."""
        condition = "state not in ('Terminated', 'Error')"
        output = self.ask("oarstat", "--full", "--json", f"--sql={condition}")
        return {int(number): job for number, job in json.loads(output or "{}").items()}

    def states(self) -> dict[str, str]:
        """Return the state of each job that has not ended, by its name."""
        return {str(job["name"]): job["state"] for job in self.jobs().values()}

    def job_id(self, session_id: str) -> int:
        """Return the number of a session's job."""
        return next(
            number for number, job in self.jobs().items() if str(job["name"]).endswith(f"-{session_id}")
        )

    def fill(self) -> int:
        """Occupy the whole cluster with a job that runs; return its number."""
        words = ["oarsub", "--name=fill", "--directory=/", "--stdout=/dev/null", "--stderr=/dev/null"]
        resource = "--resource=/host=2,walltime=0:20:00"
        self.add_account("filler")
        answer = self.ask(
            *("setpriv", "--reuid=filler", "--regid=filler", "--init-groups"),
            *(*words, resource, "sleep 1200"),
        )
        number = int(answer.rpartition("OAR_JOB_ID=")[2])
        wait_until(lambda: self.states().get("fill") == "Running", 30, what="the cluster is full")
        return number

    def delete(self, *numbers: int) -> None:
        """Have jobs end, as the staff would."""
        if numbers:
            self.ask("oardel", *(str(number) for number in numbers), check=False)

    def clean(self) -> None:
        """End all jobs and wait until there is none."""
        self.delete(*self.jobs())
        wait_until(lambda: not self.jobs(), 60, what="no job is left")

    # --- breaking it

    def end(self, daemon: str) -> None:
        """End a daemon in order: ``Almighty``, which is OAR's server, or ``postgres``, its database."""
        file = {"Almighty": "/run/oar-server.pid", "postgres": "/var/lib/postgresql/lab/postmaster.pid"}
        pid = int(self.path(file[daemon]).read_text().split()[0])
        os.kill(pid, {"Almighty": signal.SIGTERM, "postgres": signal.SIGINT}[daemon])
        wait_until(lambda: not _lives(pid), 20, what=f"{daemon} is gone")

    def mend(self) -> None:
        """Start what is dead."""
        self.start()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _enter(namespace: int) -> None:
    # Of this thread only; threads and processes that it starts come along.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "the lab's network cannot be entered")


def _run(words: list[str], *, check: bool = True, stdin: str = "", **variables: str) -> str:
    kept = {name: os.environ[name] for name in ("DAAS_CACHE",) if name in os.environ}
    environment = {"PATH": PROGRAMS, "LC_ALL": "C.UTF-8", **kept, **variables}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, input=stdin, cwd="/")
    if check and done.returncode != 0:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stdout}\n{done.stderr}")
    return done.stdout


def oar_backend(**more: object) -> dict[str, object]:
    """Return the options of a backend for the lab: its nodes are all one machine."""
    return {
        "addresses": {"oar1": "127.0.0.1", "oar2": "127.0.0.1"},
        "listen": "127.0.0.1",
        "interval_seconds": 2,
        "start_interval_seconds": 1,
        "command_seconds": 20,
        **more,
    }
