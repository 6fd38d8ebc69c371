"""What *accounts* said of a person a moment ago, for pages that are turned over quickly.

Paging and sorting the list of proposals would ask the same again with each page. It may be a few seconds old
there and nowhere else: whatever starts or changes something asks anew, and the hub decides.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from jupyterhub_daas.clients import AccountsClient
from jupyterhub_daas.core.access import Standing

SECONDS = 5.0
MAX_PEOPLE = 1000


class Account(NamedTuple):
    """A person's standing and the identifiers of her favourite proposals."""

    standing: Standing
    favourites: tuple[str, ...]


class RecentAccounts:
    """Ask for standing and favourites, and know them for some seconds; a failure is never kept.

    Kept by token: what one token may read is told to no other.
    """

    def __init__(self, accounts: AccountsClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts, self._clock = accounts, clock
        self._known: dict[tuple[str, str], tuple[float, Account]] = {}
        self._changes = 0

    async def account(self, username: str, token: str) -> Account:
        """Return what was said of a person not longer than `SECONDS` ago."""
        key, now = (username, token), self._clock()
        kept = self._known.get(key)
        if kept is not None and now - kept[0] < SECONDS:
            return kept[1]
        changes = self._changes
        standing, favourites = await asyncio.gather(
            self._accounts.standing(username, token=token), self._accounts.favourites(username, token=token)
        )
        if len(self._known) >= MAX_PEOPLE:
            self._known = {each: one for each, one in self._known.items() if now - one[0] < SECONDS}
        account = Account(standing, favourites)
        # Checked after the last await: what was said before a change is not kept.
        if changes == self._changes:
            self._known[key] = (now, account)
        return account

    def forget(self, username: str) -> None:
        """Ask anew after a change to this person."""
        self._changes += 1
        self._known = {key: kept for key, kept in self._known.items() if key[0] != username}
