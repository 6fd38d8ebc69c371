"""Run a scheduler's programs: a list of words, an environment of our own, a deadline, and never a shell."""

import asyncio
import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount

MAX_OUTPUT = 1 << 26


@dataclass(frozen=True)
class Answer:
    """What a program said."""

    status: int
    output: str
    error: str


class Runner(ABC):
    """Run a program as the hub (`account` is None) or as a person."""

    @abstractmethod
    async def run(
        self, words: Sequence[str], *, account: JobAccount | None = None, stdin: str = ""
    ) -> Answer:
        """Return the answer of a program; raise BackendUnavailableError if there is none in time."""

    async def tail(self, path: str, *, account: JobAccount, lines: int) -> str | None:
        """Return the last lines of a file as the person would read it; None where there is none."""
        answer = await self.run(["/usr/bin/tail", "-n", str(lines), "--", path], account=account)
        return answer.output if answer.status == 0 else None


class LocalRunner(Runner):
    """Run programs of this machine: by root under the person's ids, by anybody else with sudo.

    `variables` are all that a program gets of an environment; with `umask` it writes files accordingly.
    """

    def __init__(
        self, variables: Mapping[str, str], *, seconds: float, sudo: str | None, umask: int = -1
    ) -> None:
        self._variables = dict(variables)
        self._seconds, self._sudo, self._umask = seconds, sudo, umask

    async def run(
        self, words: Sequence[str], *, account: JobAccount | None = None, stdin: str = ""
    ) -> Answer:
        """Run a program here."""
        identity = _identity(account) if self._changes(account) and self._sudo is None else {}
        return await run_program(
            self.command(words, account),
            self._variables,
            seconds=self._seconds,
            stdin=stdin,
            identity={**identity, "umask": self._umask},
        )

    def command(self, words: Sequence[str], account: JobAccount | None) -> list[str]:
        """Return the words that are run, those of sudo included."""
        if self._sudo is None or not self._changes(account):
            return list(words)
        assert account is not None
        return [self._sudo, "-n", "-u", account.name, "--", *words]

    def _changes(self, account: JobAccount | None) -> bool:
        return account is not None and account.uid != os.geteuid()


def _identity(account: JobAccount | None) -> dict[str, Any]:
    assert account is not None
    return {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}


async def run_program(
    words: Sequence[str],
    variables: Mapping[str, str],
    *,
    seconds: float,
    stdin: str = "",
    identity: Mapping[str, Any] | None = None,
) -> Answer:
    """Run a program with exactly these variables."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            env=dict(variables),
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            **(identity or {}),
        )
    except OSError as error:
        raise BackendUnavailableError(
            f"The program {words[0]} cannot be started: {error.strerror}. Please tell the support team."
        ) from error
    try:
        output, error_text = await asyncio.wait_for(process.communicate(stdin.encode()), seconds)
    except asyncio.TimeoutError:
        raise BackendUnavailableError("The cluster does not answer in time.") from None
    finally:
        if process.returncode is None:
            await _end(process)
    return Answer(
        process.returncode or 0,
        output.decode(errors="replace")[:MAX_OUTPUT],
        error_text.decode(errors="replace")[:4000],
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    # A program that sudo runs for us is ended by sudo, which hands on this signal but cannot hand on a kill.
    for end, seconds in ((process.terminate, 1.0), (process.kill, 1.0)):
        # One that changed its account may not be ours to end: it does so by itself.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.shield(asyncio.wait_for(process.wait(), seconds))
            return
