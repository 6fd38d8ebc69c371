"""Accounts of the hub's machine, by PAM.

Only PAM is asked; whether the account may be used (expired, locked, not on this host) is PAM's word too, at
the sign-in and at every refresh. Accounts of the system are never tried: nobody guesses at root's password.
"""

import asyncio
import pwd
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pamela

from jupyterhub_daas.authenticators.accounts.source import may_be_right
from jupyterhub_daas.errors import ConfigurationError, UpstreamUnavailableError

Found = TypeVar("Found")

# PAM holds a wrong password back for two seconds: the threads wait, they don't work.
THREADS = 8
LOWEST_UID = 1000
SERVICES = Path("/etc/pam.d")
# libpam's codes for "no"; whatever else it says means that it could not find out.
_PERM_DENIED, _AUTH_ERR, _CRED_INSUFFICIENT, _USER_UNKNOWN, _MAXTRIES = 6, 7, 8, 10, 11
_NEW_PASSWORD, _ACCOUNT_EXPIRED, _PASSWORD_EXPIRED = 12, 13, 27
REFUSALS = frozenset(
    {
        _PERM_DENIED,
        _AUTH_ERR,
        _CRED_INSUFFICIENT,
        _USER_UNKNOWN,
        _MAXTRIES,
        _NEW_PASSWORD,
        _ACCOUNT_EXPIRED,
        _PASSWORD_EXPIRED,
    }
)


class PamAccounts:
    """Accounts that a PAM service of this machine knows, from `lowest_uid` on."""

    room = THREADS

    def __init__(self, service: str, *, title: str, place: str, lowest_uid: int = LOWEST_UID) -> None:
        # A service without a file of its own would silently get that of "other".
        if not (SERVICES / service).is_file():
            raise ConfigurationError(
                f"{place}: there is no PAM service {service!r}: {SERVICES / service} is missing.",
                field=place,
            )
        self.issuer = f"pam:{service}"
        self._service, self._title, self._lowest_uid = service, title, lowest_uid
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="daas-pam")

    async def check(self, username: str, password: str) -> str | None:
        """Return the account's name if PAM takes the password and the account is in order."""
        if not may_be_right(username, password):
            return None
        right = await self._in_thread(lambda: self._check(username, password))
        return username if right else None

    async def exists(self, username: str) -> bool:
        """Tell whether PAM would still let this account in."""
        return await self._in_thread(lambda: self._is_ours(username) is True and self._in_order(username))

    async def _in_thread(self, ask: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._pool, ask)

    def _check(self, username: str, password: str) -> bool:
        if self._is_ours(username) is False:
            return False
        # A name that does not exist is asked for all the same: PAM takes its time over it.
        authenticated = self._asked(
            lambda: pamela.authenticate(username, password, service=self._service, resetcred=0)
        )
        return authenticated and self._is_ours(username) is True and self._in_order(username)

    def _in_order(self, username: str) -> bool:
        return self._asked(lambda: pamela.check_account(username, service=self._service))

    def _is_ours(self, username: str) -> bool | None:
        """Tell whether the account is a person's; None if there is none of exactly this name."""
        try:
            account = pwd.getpwnam(username)
        except KeyError:
            return None
        return account.pw_name == username and account.pw_uid >= self._lowest_uid

    def _asked(self, ask: Callable[[], object]) -> bool:
        try:
            ask()
        except pamela.PAMError as error:
            if error.errno in REFUSALS:
                return False
            # What PAM says is not passed on: modules write what they like.
            raise UpstreamUnavailableError(
                f"{self._title}: passwords cannot be checked right now. Please try again in a few minutes.",
                service=self._title,
            ) from error
        return True
