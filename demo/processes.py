"""Processes of the demo: nothing that it started, however indirectly, is left when it ends.

Whatever loses its parent below us becomes our child (subreaper), so one look at /proc finds all of it, also
what left its process group or session. What we start ourselves is told when we die (parent-death signal).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class DemoError(Exception):
    """Tell the person in one line what is wrong and what to do."""


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int, signum: int = signal.SIGTERM) -> None:
    """Have the kernel send us a signal when our parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    # The parent may have ended before the call above: then no signal would ever come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)


def start(
    command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a command in a session of its own, so that the terminal's Ctrl-C reaches only us."""
    parent = os.getpid()
    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                list(command),
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )
        except OSError as error:
            raise DemoError(f"cannot start {command[0]}: {error.strerror}. Start the demo again.") from error


def _parents() -> dict[int, int]:
    """Map each living process to its parent; the dead that were not yet waited for don't count."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The command's name is in parentheses and may itself hold spaces and parentheses.
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def descendants(root: int) -> set[int]:
    """Return every living process below `root`."""
    parents = _parents()
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    pending = [root]
    while pending:
        for child in children.get(pending.pop(), ()):
            found.add(child)
            pending.append(child)
    return found


def _send(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def reap() -> None:
    """Take note of every child that has ended, so that none stays behind as a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_descendants(*, grace: float) -> int:
    """End all processes below us, first politely, then by force; return how many there were."""
    me = os.getpid()
    first = descendants(me)
    _send(first, signal.SIGTERM)
    wait_until(lambda: not descendants(me), grace, each=reap)
    # What is being killed may still fork: look again until nobody is left.
    deadline = time.monotonic() + 10
    while (left := descendants(me)) and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        time.sleep(0.05)
        reap()
    reap()
    return len(first)


def wait_until(
    condition: Callable[[], bool], timeout: float, *, each: Callable[[], object] = lambda: None
) -> bool:
    """Wait until a condition holds; tell whether it did in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        each()
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True
