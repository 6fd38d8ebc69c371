"""The logs of local sessions: files in the people's homes, read as the person and never as the hub.

Whatever the person put in the log's place, a link say, the reader gets what she herself may read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.core.details import MAX_LOG_BYTES
from jupyterhub_daas.errors import BackendError, NotFoundError
from jupyterhub_daas.spawners.backends.local.launcher import OWN

READ_SECONDS = 5.0
KEPT = 1000


@dataclass(frozen=True)
class LogFile:
    """A session's log: the file's name in our folder of a person's home."""

    username: str
    name: str


class Logs:
    """Remember whose the last sessions are."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, LogFile] = OrderedDict()

    def remember(self, session_id: str, username: str, session: str) -> None:
        """Note a session."""
        self._files[session_id] = LogFile(username, log_name(session))
        while len(self._files) > KEPT:
            self._files.popitem(last=False)

    def find(self, session_id: str) -> LogFile:
        """Return the log of a session; raise if nobody knows any more whose it was."""
        file = self._files.get(session_id)
        if file is None:
            raise NotFoundError(f"The logs of sessions that ended are in the folder {OWN} of your home.")
        return file


def log_name(session: str) -> str:
    """Return the name of a session's log."""
    return f"{session}.log"


async def read_end(home: str, file: LogFile, *, lines: int, identity: Mapping[str, Any]) -> str:
    """Return the last lines of a log, read by a process with this identity."""
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/tail",
        f"--lines={lines}",
        "--",
        f"{home}/{OWN}/{file.name}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        **identity,
    )
    try:
        # The end of a pipe or a device never comes, and a line may be of any length.
        output = await asyncio.wait_for(_read(process), READ_SECONDS)
        status = await process.wait()
    except asyncio.TimeoutError as error:
        raise BackendError("The log cannot be read: it is no ordinary file.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status > 0:
        raise NotFoundError(f"There is no log of this session in the folder {OWN} of your home.")
    return output.decode(errors="replace")


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """Return what a process writes: of too much, the end."""
    assert process.stdout is not None
    kept = b""
    while part := await process.stdout.read(65536):
        kept = (kept + part)[-MAX_LOG_BYTES:]
    return kept
