"""Hubs and services of the tests as forks of a Python that has imported their libraries.

A portal is six Pythons. To import is two thirds of their start, some hundred times in each run. One process
does it for each worker; a fork of it is a hub, and each hub has another one for its services. What they run,
under which account and with which environment, whose children they are and how they end is as if they had
been started anew; a fork server of `multiprocessing` would be the parent of all. Portals that run as root, as
in production, and the demo's are started anew.
"""

import ctypes
import gc
import importlib
import json
import os
import pwd
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.support.startup import python_variables

# What takes long and is the same in all: nothing of ours, and nothing that reads the environment when it is
# imported, as jupyterhub.services.auth does.
LIBRARIES = (
    "aiohttp",
    "aiosqlite",
    "alembic.command",
    "arrow",
    "asyncpg",
    "certipy",
    "cryptography.fernet",
    "dateutil.parser",
    "jinja2",
    "jupyter_events",
    "jupyterhub.scopes",
    "oauthlib.oauth2",
    "pamela",
    "prometheus_client",
    "pydantic.main",
    "pydantic.json_schema",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "sqlalchemy.ext.asyncio",
    "tornado.httpserver",
    "tornado.options",
    "yaml",
)
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
LONGEST_MESSAGE = 1 << 17
# The command of a fork is written over that of the process that was started, which has to be as long.
ROOM = "." * 500

_asking = threading.Lock()


@dataclass(frozen=True)
class Program:
    """What `python -m` would run: its command from the module on, environment, folder and account."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    uid: int


class Forked(subprocess.Popen[bytes]):
    """A process of ``[python, "-m", module, …]`` that begins as a fork of the one behind a socket."""

    def __init__(
        self, forks: socket.socket, args: list[str], *, uid: int | None = None, **given: Any
    ) -> None:
        self._forks, self._uid = forks, os.geteuid() if uid is None else uid
        super().__init__(args, **given)

    def _execute_child(  # type: ignore[override]
        self,
        args: list[str],
        executable: str | None,
        preexec_fn: object,
        close_fds: bool,
        pass_fds: object,
        cwd: str | None,
        env: Mapping[str, str] | None,
        *given: Any,
    ) -> None:
        output = given[6] if given[6] != -1 else sys.stdout.fileno()
        environment = dict(os.environ if env is None else env)
        program = Program(args[2:], environment, str(cwd or Path.cwd()), self._uid)
        with _asking, _adopting():
            socket.send_fds(self._forks, [json.dumps(asdict(program)).encode()], [output])
            answer = self._forks.recv(100)
        if not answer:
            raise OSError("The process that forks hubs and services has ended.")
        self.pid = int(answer)
        self._child_created = True


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


@contextmanager
def _adopting() -> Iterator[None]:
    """Become the parent of a descendant whose own parent ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(PR_SET_CHILD_SUBREAPER, 0)


@cache
def forks_of_worker() -> socket.socket:
    """Return the socket of this worker's process with all libraries, which ends with the worker."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.set_inheritable(True)
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", __name__, str(theirs.fileno()), ROOM],
            {"PATH": os.environ["PATH"], **python_variables()},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
        )
    return ours


# --- in the process that forks


def serve(asked: socket.socket) -> Program | None:
    """Fork for whoever asks: return in each fork with what it is to be, here when nobody asks any more."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, LONGEST_MESSAGE, 1)
        if not message:
            return None
        (output,) = descriptors
        told, tell = os.pipe()
        waited, go = os.pipe()
        between = os.fork()
        if between:
            # Whoever asked is the fork's parent once the one between has ended: only then may that go on.
            os.waitpid(between, 0)
            asked.send(os.read(told, 20))
            for each in (told, tell, waited, go, output):
                os.close(each)
            continue
        if fork := os.fork():
            os.write(tell, str(fork).encode())
            os._exit(0)
        asked.close()
        os.dup2(output, 1)
        os.dup2(output, 2)
        for each in (told, tell, go, output):
            os.close(each)
        os.read(waited, 1)
        os.close(waited)
        return Program(**json.loads(message))


def become(program: Program) -> None:
    """Take the account, environment, folder and name of a program that was started by itself."""
    os.setsid()
    if program.uid != os.geteuid():
        account = pwd.getpwuid(program.uid)
        os.initgroups(account.pw_name, account.pw_gid)
        os.setresgid(*[account.pw_gid] * 3)
        os.setresuid(*[account.pw_uid] * 3)
        # As after any start of a program: its owner may look at it.
        _prctl(PR_SET_DUMPABLE, 1)
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.argv = list(program.command)
    sys.orig_argv = [sys.executable, "-m", *program.command]
    sys.path[0] = program.folder
    _write_command(sys.orig_argv)


def _write_command(words: list[str]) -> None:
    # Fields 48 and 49, counted from 1: where the kernel looks for the command.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = "\0".join(words).encode()
    ctypes.memmove(begin, text[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


def main() -> None:
    """Import, fork, and in a fork run what it is to be."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    program = serve(asked)
    if program is None:
        return
    become(program)
    if program.command[0] == "jupyterhub":
        program = with_services(program)
    if program is not None:
        runpy.run_module(program.command[0], run_name="__main__", alter_sys=True)


def with_services(hub: Program) -> Program | None:
    """Give the hub that this is a child whose forks are its services; return what this process then is."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        importlib.import_module("jupyterhub.services.service").Popen = partial(Forked, ours)
        return hub
    ours.close()
    os.setsid()
    _write_command([sys.executable, "-m", "tests.support.preloaded"])
    service = serve(theirs)
    if service is not None:
        become(service)
    return service


if __name__ == "__main__":
    main()
