"""Tokens with which people speak to slurmrestd: short-lived, each for one person, and made elsewhere.

Who holds Slurm's key can be anybody on the cluster, root included. So the hub holds none: a command of the
facility gives out a token for one name, to those who may have sessions, and decides that by itself.
"""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.errors import AccessError, AccountUnknownError, BackendUnavailableError
from jupyterhub_daas.spawners.backends.batch.commands import run_program

log = logging.getLogger("jupyterhub_daas.spawners.slurm")

# The command's exit status for a person who gets none; EX_NOPERM of sysexits.h.
REFUSED = 77
# A token is not used in the last seconds of its time: the question has to arrive.
SPARE_SECONDS = 30.0
FORM = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"
NO_TOKEN = "The cluster gives no access now."  # noqa: S105 - it is a sentence


@dataclass(frozen=True)
class Token:
    """A token and until when, by the clock, it can be used."""

    text: str
    until: float


class Tokens:
    """Get a token for a name from a command, and keep it for as long as it is good."""

    def __init__(self, command: Sequence[str], *, claim: str, seconds: float) -> None:
        self._command, self._claim, self._seconds = list(command), claim, seconds
        self._kept: dict[str, Token] = {}
        self._asked: dict[str, asyncio.Task[Token]] = {}

    async def get(self, name: str) -> str:
        """Return a token that says it is for this name; raise AccessError if the name may have none."""
        if not matches(USERNAME, name) or name == "root":
            raise AccountUnknownError("No session runs under such an account.")
        now = time.time()
        self._kept = {key: token for key, token in self._kept.items() if token.until > now}
        if name not in self._kept:
            task = self._asked.get(name)
            if task is None:
                task = self._asked[name] = asyncio.ensure_future(self._ask(name))
                task.add_done_callback(lambda done: self._answered(name, done))
            return (await asyncio.shield(task)).text
        return self._kept[name].text

    def forget(self, name: str) -> None:
        """Drop a token that was not accepted: the key may be another one now."""
        self._kept.pop(name, None)

    def _answered(self, name: str, task: "asyncio.Task[Token]") -> None:
        self._asked.pop(name, None)
        # Nobody may have waited for it to the end.
        if not task.cancelled() and task.exception() is None:
            self._kept[name] = task.result()

    async def _ask(self, name: str) -> Token:
        answer = await run_program([*self._command, name], {"PATH": "/usr/bin:/bin"}, seconds=self._seconds)
        if answer.status == REFUSED:
            raise AccessError(
                "Your account may not use the cluster. Ask the user office or your local contact to have it "
                "added."
            )
        if answer.status != 0:
            log.warning("No token for %s: %s", name, answer.error.strip()[:1000])
            raise BackendUnavailableError(NO_TOKEN)
        return self._read(answer.output, name)

    def _read(self, output: str, name: str) -> Token:
        """Read ``SLURM_JWT=<token>``, or the token alone; its signature is Slurm's to check."""
        text = output.strip().removeprefix("SLURM_JWT=")
        try:
            if not matches(FORM, text):
                raise ValueError("no token")
            body = text.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            whose, until = claims[self._claim], float(claims["exp"]) - SPARE_SECONDS
        except (ValueError, KeyError, TypeError) as error:
            log.warning("What the command for tokens says is no token for %s", name)
            raise BackendUnavailableError(NO_TOKEN) from error
        if whose != name or until <= time.time():
            # Whoever it is for, it is not for this one.
            log.warning("The command for tokens gave a wrong one for %s", name)
            raise BackendUnavailableError(NO_TOKEN)
        return Token(text, until)
