"""The ways to sign in that the login page offers, and the one that this browser remembers.

A remembered way is shown first and alone; nobody is sent along it unasked, so that neither a provider that
refuses somebody nor the browser's *back* leads round in a circle.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jupyterhub_daas.authenticators.accounts.settings import Accounts
from jupyterhub_daas.authenticators.openid import OpenIDProvider

COOKIE = "daas-way"
COOKIE_DAYS = 365
_ACCOUNTS = "accounts:"


class Button(NamedTuple):
    """A provider, as the login page shows it."""

    key: str
    title: str
    description: str
    logo: str | None
    away: bool
    url: str


class Choice(NamedTuple):
    """A source of accounts, as the login page shows it."""

    key: str
    title: str
    description: str


class Ways(NamedTuple):
    """What the page shows: a remembered provider, or that accounts are remembered, and all there are."""

    buttons: tuple[Button, ...]
    choices: tuple[Choice, ...]
    remembered: Button | None
    remembers_accounts: bool
    chosen: str

    @property
    def several(self) -> bool:
        """Tell whether there is anything to choose, and so to remember."""
        return len(self.buttons) + len(self.choices) > 1

    @property
    def other_buttons(self) -> tuple[Button, ...]:
        """Return the providers but for the remembered one."""
        return tuple(button for button in self.buttons if button is not self.remembered)


def ways(
    providers: Mapping[str, OpenIDProvider],
    sources: Mapping[str, Accounts],
    urls: Mapping[str, str],
    *,
    cookie: str,
    tried: str = "",
) -> Ways:
    """Return the ways in; `tried` is the source that a form just named, which goes before the cookie's."""
    buttons = tuple(
        Button(key, each.settings.title, each.settings.description, each.settings.logo, each.away, urls[key])
        for key, each in providers.items()
    )
    choices = tuple(
        Choice(key, each.settings.title, each.settings.description) for key, each in sources.items()
    )
    source = cookie.removeprefix(_ACCOUNTS) if cookie.startswith(_ACCOUNTS) else ""
    remembered = next((button for button in buttons if button.key == cookie), None)
    chosen = next((key for key in (tried, source) if key in sources), next(iter(sources), ""))
    return Ways(buttons, choices, remembered, source in sources, chosen)


def accounts_way(source: str) -> str:
    """Return what the cookie holds for a source of accounts; for a provider it is the provider's key."""
    return _ACCOUNTS + source
