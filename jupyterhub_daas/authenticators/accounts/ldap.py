"""Accounts in an LDAP directory.

An account of the portal's own looks for the person's entry, and the directory then judges the password by a
bind as that entry. Only over TLS that is verified; never anonymously, never with an empty password.
"""

import asyncio
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import ldap
import ldap.dn
import ldap.filter

from jupyterhub_daas.authenticators.accounts.source import may_be_right
from jupyterhub_daas.authenticators.accounts.tunnel import tunnel
from jupyterhub_daas.errors import UpstreamAnswerError, UpstreamError, UpstreamUnavailableError

Found = TypeVar("Found")

THREADS = 8
TIMEOUT = 10.0
log = logging.getLogger(__name__)

# How directories say no to a person's bind: wrong password, account locked, password to be changed.
REFUSALS = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,
    ldap.INSUFFICIENT_ACCESS,
    ldap.UNWILLING_TO_PERFORM,
    ldap.CONSTRAINT_VIOLATION,
    ldap.NO_SUCH_OBJECT,
)


class Directory(NamedTuple):
    """Where and how to look for accounts; `password` is that of `bind_dn`."""

    host: str
    port: int
    base: str
    bind_dn: str
    password: str
    attribute: str
    filter: str
    context: ssl.SSLContext


class LdapAccounts:
    """Accounts below the base of a directory."""

    room = THREADS

    def __init__(self, directory: Directory, *, title: str, timeout: float = TIMEOUT) -> None:
        self.issuer = f"ldap:{directory.base}"
        self._directory, self._title, self._timeout = directory, title, timeout
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="daas-ldap")

    async def check(self, username: str, password: str) -> str | None:
        """Return the account's name if the directory takes the password."""
        if not may_be_right(username, password):
            return None
        return username if await self._ask(lambda found: self._proves(found, username, password)) else None

    async def exists(self, username: str) -> bool:
        """Tell whether the directory still has the account."""
        return await self._ask(lambda found: self._look_up(found, username) is not None)

    async def _ask(self, ask: Callable[[Any], Found]) -> Found:
        try:
            return await asyncio.wait_for(self._through_tunnel(ask), self._timeout)
        except (OSError, asyncio.TimeoutError) as error:  # an ssl.SSLError is an OSError
            log.warning("Directory cannot be reached: source=%s kind=%s", self.issuer, type(error).__name__)
            raise self._unavailable() from error

    async def _through_tunnel(self, ask: Callable[[Any], Found]) -> Found:
        where = self._directory
        loop = asyncio.get_running_loop()
        async with tunnel(where.host, where.port, where.context) as end:
            return await loop.run_in_executor(self._pool, self._talk, end, ask)

    def _talk(self, end: socket.socket, ask: Callable[[Any], Found]) -> Found:
        connection = ldap.initialize("ldap://", fileno=end.detach())  # which closes it
        connection.protocol_version = ldap.VERSION3
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.set_option(ldap.OPT_TIMEOUT, self._timeout)
        try:
            self._bind_as_ourselves(connection)
            return ask(connection)
        except ldap.LDAPError as error:  # its text is the server's: not passed on
            log.warning("Directory does not answer: source=%s kind=%s", self.issuer, type(error).__name__)
            raise self._unavailable() from error
        finally:
            connection.unbind_ext()

    def _bind_as_ourselves(self, connection: Any) -> None:
        try:
            connection.simple_bind_s(self._directory.bind_dn, self._directory.password)
        except REFUSALS as error:
            log.error("Directory refuses the portal's own account: source=%s", self.issuer)
            raise self._misfit() from error

    def _proves(self, connection: Any, username: str, password: str) -> bool:
        entry = self._look_up(connection, username)
        try:
            # For a name that does not exist somebody is bound as well who does not either.
            connection.simple_bind_s(entry or self._nobody(), password)
        except REFUSALS:
            return False
        return entry is not None

    def _look_up(self, connection: Any, username: str) -> str | None:
        """Return the entry whose attribute is exactly this name, None if there is none."""
        where = self._directory
        named = ldap.filter.filter_format("(%s=%s)", [where.attribute, username])
        try:
            found = connection.search_ext_s(
                where.base,
                ldap.SCOPE_SUBTREE,
                f"(&{where.filter}{named})",
                [where.attribute],
                sizelimit=2,
            )
        except (ldap.NO_SUCH_OBJECT, ldap.FILTER_ERROR) as error:
            log.error("Directory has no such base, or the filter is none: source=%s", self.issuer)
            raise self._misfit() from error
        except ldap.SIZELIMIT_EXCEEDED:
            found = [("", {}), ("", {})]
        # Entries without a name are referrals to other servers.
        entries = [(name, values) for name, values in found if name is not None]
        if len(entries) > 1:
            log.error("Directory has several entries for one username: source=%s", self.issuer)
            return None
        # The directory compares without letter case; we don't.
        exact = [name for name, values in entries if username.encode() in _values(values, where.attribute)]
        return exact[0] if exact else None

    def _nobody(self) -> str:
        named = f"{self._directory.attribute}={ldap.dn.escape_dn_chars(secrets.token_hex(8))}"
        return f"{named},{self._directory.base}"

    def _unavailable(self) -> UpstreamError:
        return UpstreamUnavailableError(
            f"{self._title}: passwords cannot be checked right now. Please try again in a few minutes.",
            service=self._title,
        )

    def _misfit(self) -> UpstreamError:
        return UpstreamAnswerError(
            f"{self._title}: passwords cannot be checked. Please tell the facility's support.",
            service=self._title,
        )


def _values(entry: dict[str, list[bytes]], attribute: str) -> list[bytes]:
    # Attribute names have no letter case.
    return [each for name, values in entry.items() if name.lower() == attribute.lower() for each in values]
