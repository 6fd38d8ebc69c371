"""What every source of accounts is to the portal.

A source answers with the account's name or None, never on the hub's event loop, and raises UpstreamError
where it cannot tell: an outage is no wrong password. The name that it answers with is the very one that was
typed: a directory that ignores letter case, accents or spaces makes nobody another.
"""

from typing import Protocol

from jupyterhub_daas.core.names import USERNAME, matches

LONGEST_PASSWORD = 1024


class AccountSource(Protocol):
    """Where accounts live."""

    @property
    def issuer(self) -> str:
        """Return the issuer of this source's identities, such as ``file:accounts`` or ``pam:daas``."""

    @property
    def room(self) -> int:
        """Return how many passwords can be checked at once; further ones wait their turn."""

    async def check(self, username: str, password: str) -> str | None:
        """Return the account's name if the password is right; raise UpstreamError if it cannot be told."""

    async def exists(self, username: str) -> bool:
        """Tell whether the account still is in order; raise UpstreamError if it cannot be told."""


def may_be_right(username: str, password: str) -> bool:
    """Tell whether a name and a password are such that an account could have them.

    An empty password asks many directories for an anonymous login, which succeeds; a NUL ends a text in C;
    half a character, which JSON can hold, is no text at all.
    """
    whole = "\0" not in password and not any("\ud800" <= character <= "\udfff" for character in password)
    return matches(USERNAME, username) and 0 < len(password) <= LONGEST_PASSWORD and whole
