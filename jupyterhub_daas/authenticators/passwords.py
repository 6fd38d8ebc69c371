"""Signing in with a username and a password: which source is asked, how often, and how long a no takes.

A wrong password, an unknown name and a locked account are answered alike and after the same time at least:
what a source needs for one of them lies within it.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple
from weakref import WeakValueDictionary

from jupyterhub_daas.authenticators.accounts.settings import Accounts
from jupyterhub_daas.authenticators.attempts import Attempts
from jupyterhub_daas.authenticators.entry import PasswordGiven
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import UnauthenticatedError

REFUSAL_SECONDS = 0.5


class Proven(NamedTuple):
    """An identity that a password proved; `names_person` if its subject is the person's username."""

    identity: Identity
    names_person: bool


class Passwords:
    """The sources of the login page, behind the limits on guessing."""

    def __init__(self, sources: Mapping[str, Accounts], attempts: Attempts) -> None:
        self.sources = sources
        self.attempts = attempts
        self._rooms = {key: asyncio.Semaphore(each.source.room) for key, each in sources.items()}
        # Only those that somebody waits for or holds are remembered.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def check(self, given: PasswordGiven, address: str) -> Proven:
        """Return whom a password proves; an UpstreamError says that nobody can tell."""
        key = self._key(given.source)
        began = time.monotonic()
        username = await self._ask(key, given, address)
        if username is None:
            # Outside the queue: being slow to one person holds up nobody else.
            await asyncio.sleep(began + REFUSAL_SECONDS - time.monotonic())
            raise UnauthenticatedError("Wrong username or password. Please try again.", cause="password")
        chosen = self.sources[key]
        identity = Identity(issuer=chosen.source.issuer, subject=username)
        return Proven(identity, chosen.settings.person == "username")

    def _key(self, wanted: str) -> str:
        if not self.sources:
            raise UnauthenticatedError("There are no accounts with a password here.", cause="no_source")
        if wanted and wanted not in self.sources:
            raise UnauthenticatedError("There are no such accounts here.", cause="no_source")
        return wanted or next(iter(self.sources))

    async def _ask(self, key: str, given: PasswordGiven, address: str) -> str | None:
        # One count for a name whatever the source: where a password is the same, so are the guesses.
        account = given.username.casefold()
        # One guess at an account after the other: many at once don't slip past the limit.
        turn = self._turns.setdefault(account, asyncio.Lock())
        async with turn, self._rooms[key]:
            self.attempts.check(account, address)
            username = await self.sources[key].source.check(given.username, given.password)
            if username is None:
                self.attempts.fail(account, address)
            else:
                self.attempts.succeed(account)
        return username
