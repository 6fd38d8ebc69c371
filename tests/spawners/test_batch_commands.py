"""Programs of a scheduler: an answer, or an outage; never an error of another kind."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from typing import NoReturn

import pytest

from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.commands import run_program


async def test_a_program_that_does_not_answer_is_ended() -> None:
    with pytest.raises(BackendUnavailableError, match="in time"):
        await run_program(["/usr/bin/sleep", "600"], {}, seconds=0.1)


async def test_a_program_that_is_not_ours_to_end_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root, who runs these tests in CI, may end everything: what others are told is put in its place."""
    left: list[Process] = []

    def refuse(process: Process) -> NoReturn:
        left.append(process)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Process, "terminate", refuse)
    monkeypatch.setattr(Process, "kill", refuse)
    with pytest.raises(BackendUnavailableError, match="in time"):
        await run_program(["/usr/bin/sleep", "600"], {}, seconds=0.1)
    assert left
    os.kill(left[0].pid, signal.SIGKILL)
    await asyncio.wait_for(left[0].wait(), 60)


async def test_what_a_program_writes_is_for_its_account_only(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("umask") / "script"
    answer = await run_program(
        ["/usr/bin/tee", "--", str(file)], {}, seconds=60, stdin="text", identity={"umask": 0o077}
    )
    assert (answer.status, file.read_text(), file.stat().st_mode & 0o777) == (0, "text", 0o600)
