"""Run a scheduler's programs on another machine, by the program ssh and a key that can do nothing else.

What is to be run travels as JSON on stdin and never as a line for the far end's shell. There one fixed
command decides what is allowed, becomes the person, and answers in JSON.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.accounts import JobAccount
from jupyterhub_daas.spawners.backends.batch.commands import Answer, Runner, run_program
from jupyterhub_daas.spawners.backends.batch.options import Address
from jupyterhub_daas.spawners.backends.option_types import PlainPath

log = logging.getLogger("jupyterhub_daas.spawners.batch")

# What sshd allows of connections that are not let in yet is ten; others may come, too.
AT_ONCE = 4
FAILED = 255


class SshOptions(Model):
    """A machine of the cluster where one key may run one command.

    `key` is the hub's own, readable to nobody else; `known_hosts` holds the machine's. `config` is a
    configuration of ssh, for a site that needs a machine in between.
    """

    host: Address
    user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] = "daas-hub"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    key: PlainPath
    known_hosts: PlainPath
    config: PlainPath = "/dev/null"
    program: PlainPath = "/usr/bin/ssh"

    @property
    def command(self) -> list[str]:
        """Return the words that reach the machine, whatever else this account's ssh is set up to do."""
        options = {
            "IdentityFile": self.key,
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "ClearAllForwardings": "yes",
            "ConnectTimeout": "10",
            "LogLevel": "ERROR",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return [
            self.program,
            "-F",
            self.config,
            "-T",
            *given,
            "-p",
            str(self.port),
            "-l",
            self.user,
            self.host,
        ]


class SshRunner(Runner):
    """Run programs behind a forced command."""

    def __init__(self, options: SshOptions, *, seconds: float) -> None:
        self._command, self._seconds = options.command, seconds
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(
        self, words: Sequence[str], *, account: JobAccount | None = None, stdin: str = ""
    ) -> Answer:
        """Run a program there; the forced command decides whether."""
        person = None if account is None else account.name
        asked = json.dumps({"words": list(words), "person": person, "stdin": stdin})
        async with self._turns:
            # ssh needs nothing of an environment.
            answer = await run_program(
                self._command, {"PATH": "/usr/bin:/bin"}, seconds=self._seconds, stdin=asked
            )
        if answer.status == FAILED:
            log.warning("ssh does not reach the cluster: %s", answer.error.strip()[:1000])
            raise BackendUnavailableError("The cluster cannot be reached.")
        try:
            said = json.loads(answer.output)
            return Answer(int(said["status"]), str(said["output"]), str(said["error"]))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("The login node does not answer as it has to: %s", answer.error.strip()[:1000])
            raise BackendUnavailableError(
                "The cluster answers in a way that is not known. Please tell the support team."
            ) from error
