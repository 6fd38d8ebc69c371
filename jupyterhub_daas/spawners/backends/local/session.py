"""The child spawner of the local backend: one supervised process tree per session.

A session runs as long as its guard does. When the guard is gone, whatever is left of the session is killed
before anybody is told that it ended.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, TYPE_CHECKING, Any, cast

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Any as AnyTrait
from traitlets import Dict, Instance, Unicode, default

from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import BackendError, SessionLostError
from jupyterhub_daas.spawners.backends.local import processes
from jupyterhub_daas.spawners.backends.local.accounts import Account
from jupyterhub_daas.spawners.backends.local.launcher import ORDER, OWN, SESSION
from jupyterhub_daas.spawners.backends.local.logs import log_name

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.backends.local.backend import LocalBackend

LAUNCHER = Path(__file__).with_name("launcher.py")
MARGIN_SECONDS = 5.0


class LocalSession(LocalProcessSpawner):  # type: ignore[misc]  # jupyterhub ships no types
    """Start, watch and end the processes of one session."""

    backend = AnyTrait(help="The LocalBackend that built this spawner.")
    session_id = Unicode(help="The tag of the session's processes.")
    launch = Instance(Launch, allow_none=True, help="What to start; None for a session that runs already.")
    variables = Dict(help="Environment variables of the facility for this session.")

    @default("env_keep")
    def _keep_nothing_secret(self) -> list[str]:
        return ["LANG", "LC_ALL", "TZ"]

    @default("poll_interval")
    def _poll_often(self) -> int:
        # Asking the kernel for one process costs nothing.
        return 5

    @property
    def _started(self) -> Launch:
        if self.launch is None:
            raise SessionLostError("A session that runs already cannot be started again.")
        return self.launch

    @property
    def _local(self) -> "LocalBackend":
        return cast("LocalBackend", self.backend)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Leave the account's variables to the start, which alone knows the account."""
        return env

    def get_env(self) -> dict[str, str]:
        """Return the session's environment: of the hub's own nothing comes along unasked."""
        launch = self._started
        return {
            **super().get_env(),
            "PATH": self._local.options.path,
            **self.variables,
            **launch.variables,
            processes.HUB: self._local.hub_id,
            SESSION: self.session_id,
        }

    async def start(self) -> tuple[str, int]:
        """Start the session and wait until it listens."""
        account = await self._local.find_account(self._started.person)
        try:
            report = self._start_guard(account)
            await asyncio.to_thread(self._let_go)
            if refusal := await _read_all(report):
                raise BackendError(refusal)
            await self._wait_until_it_listens()
        except BaseException:
            # Also when the start was cancelled: nothing may be left of it. At once, for nobody has worked
            # in it yet, and the hub waits a second only before it gives up on a cancelled start.
            await asyncio.shield(self._end(now=True))
            raise
        return self.ip, self.port

    def _start_guard(self, account: Account) -> int:
        """Start the outer supervisor as the person; return the pipe on which it says what went wrong."""
        launch = self._started
        report, its_end = os.pipe()
        order = {
            "home": account.home,
            "folder": f"proposals/{launch.proposal}",
            "mounts": {mount.target: mount.source for mount in launch.mounts},
            "log": log_name(launch.session),
            "command": [*self.cmd, *self.get_args()],
            "grace": self._local.options.grace_seconds,
            "report": its_end,
        }
        environment = {
            **self.get_env(),
            "HOME": account.home,
            "USER": account.name,
            "LOGNAME": account.name,
            "SHELL": account.shell,
            "DAAS_FOLDER": f"{account.home}/{order['folder']}",
            ORDER: json.dumps(order),
        }
        # No Python runs between fork and exec. The working folder is entered by the guard, as the person.
        own = {} if self._local.shared_account else account.identity
        try:
            self.proc = Popen(  # noqa: S603 - a list of the facility's words
                [self._local.options.python, "-I", "-S", str(LAUNCHER)],
                env=environment,
                cwd="/",
                stdin=PIPE,
                stdout=DEVNULL,
                stderr=DEVNULL,
                pass_fds=(its_end,),
                start_new_session=True,
                **own,
            )
        except OSError as error:
            os.close(report)
            raise BackendError(f"The session's supervisor cannot be started: {error.strerror}.") from error
        finally:
            os.close(its_end)
        self.pid = self.proc.pid
        self.log.info("Started session %s of %s as process %d", self.session_id, self.user.name, self.pid)
        return report

    def _let_go(self) -> None:
        """Put the guard under the limits of the session, then let it begin. Blocks for a moment."""
        # A guard that has ended meanwhile is noticed next.
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", self.proc.stdin) as go:
            self._local.limit(self.session_id, self._started.flavour, self.pid)
            go.write(b"1")

    async def _wait_until_it_listens(self) -> None:
        pause = 0.05
        while True:
            if (status := self.proc.poll()) is not None:
                raise SessionLostError(
                    f"The session ended while it was starting (exit status {status}). Its log is the file "
                    f"{OWN}/{self._started.session}.log in your home folder.",
                    status=status,
                )
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self.ip, self.port)
                writer.close()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 0.25)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Add nothing to the front spawner's words: what comes next takes a moment only."""
        nothing: tuple[dict[str, Any], ...] = ()
        for event in nothing:
            yield event

    async def poll(self) -> int | None:
        """Return None while the guard lives; end what it left behind before saying that the session ended."""
        if self.proc is not None:
            status = self.proc.poll()
            if status is None:
                return None
        else:
            status = 0
            if await self._guard_lives():
                return None
        await self._local.remove(self.session_id)
        self.clear_state()
        return int(status)

    async def _guard_lives(self) -> bool:
        """Look for a guard that an earlier hub process started; its pid is unknown if that hub was killed."""
        tag = (self._local.hub_id, self.session_id)
        if self.pid == 0:
            self.pid = await asyncio.to_thread(processes.find_guard, *tag)
        return self.pid != 0 and await asyncio.to_thread(processes.is_supervisor, self.pid, *tag)

    async def stop(self, now: bool = False) -> None:
        """End the session and everything that it started; raise if something would not die."""
        await self._end(now=now)

    async def _end(self, *, now: bool = False) -> None:
        if not now and (await self._guard_is_mine()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
                await _wait_for_end(self.pid, self._local.options.grace_seconds + MARGIN_SECONDS)
        await self._local.remove(self.session_id)
        if self.proc is not None:
            self.proc.poll()

    async def _guard_is_mine(self) -> bool:
        if self.proc is not None:
            return self.proc.poll() is None
        return await self._guard_lives()

    async def get_url(self) -> str:
        """Return where the session listens: recorded before its start, the hub's own record only after."""
        url: str = self.server.url
        if self.port and self.server.port != self.port:
            return f"http://{self.ip}:{self.port}{self.server.base_url}"
        return url

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub process needs; valid before the start too."""
        state = dict(super().get_state())
        return {**state, "port": self.port} if self.port else state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what an earlier hub process recorded."""
        super().load_state(state)
        self.port = int(state.get("port", 0))

    def clear_state(self) -> None:
        """Forget the processes."""
        super().clear_state()
        self.port = 0


async def _read_all(descriptor: int) -> str:
    """Read a pipe until its other ends are closed, then close it."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ready.set)
    content = b""
    try:
        while True:
            await ready.wait()
            ready.clear()
            part = os.read(descriptor, 4096)
            if not part:
                return content.decode(errors="replace")
            content += part
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _wait_for_end(pid: int, seconds: float) -> None:
    """Wait until a process has ended, or the time is over."""
    descriptor = os.pidfd_open(pid)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), seconds)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
