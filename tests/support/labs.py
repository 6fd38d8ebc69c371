"""Labs: real backends that tests bring up once, by the programs in tests/labs.

`up` prints lines of `export NAME='value'`, and does little where the lab runs already. Workers share a lab:
the last one to leave ends it.
"""

import fcntl
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

LABS = Path(__file__).resolve().parents[1] / "labs"


def cache() -> Path:
    """Return the folder of what tests keep from run to run, as scripts/test has it."""
    ordinary = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jupyterhub-daas"
    root = Path("/var/cache/jupyterhub-daas")
    return Path(os.environ.get("DAAS_CACHE", root if os.geteuid() == 0 else ordinary))


def _alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def _run(program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{program} failed with {done.returncode}:\n{done.stdout}\n{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def _locked(users: Path) -> Iterator[set[str]]:
    """Yield the processes that use a lab, under a lock; what is left in the set is written back."""
    users.parent.mkdir(parents=True, exist_ok=True)
    with users.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        pids = {pid for pid in file.read().split() if _alive(pid)}
        yield pids
        file.truncate(0)
        file.write(" ".join(sorted(pids)))


@contextmanager
def lab(name: str) -> Iterator[Mapping[str, str]]:
    """Bring a lab up, unless another worker has, and yield its variables; end it after its last user.

    With `DAAS_KEEP_LABS` set it is left running, for the next run to find.
    """
    users, me = cache() / "labs" / f"{name}.users", str(os.getpid())
    with _locked(users) as pids:
        words = shlex.split(_run(LABS / name / "up"))
        pids.add(me)
    try:
        yield dict(word.split("=", 1) for word in words if "=" in word)
    finally:
        with _locked(users) as pids:
            pids.discard(me)
            if not pids and not os.environ.get("DAAS_KEEP_LABS"):
                _run(LABS / name / "down")


class Labs:
    """The labs of one worker: each is brought up when it is first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._up: dict[str, Mapping[str, str]] = {}

    def up(self, name: str) -> Mapping[str, str]:
        """Return the variables of a lab, which runs until `close`."""
        if name not in self._up:
            self._up[name] = self._stack.enter_context(lab(name))
        return self._up[name]

    def close(self) -> None:
        """End all labs that nobody else uses."""
        self._stack.close()
