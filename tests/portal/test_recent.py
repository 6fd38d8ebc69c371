"""What accounts said is known for some seconds, to nobody else, and not after a change."""

import asyncio
from datetime import datetime, timezone

import pytest

from jupyterhub_daas.clients import AccountsClient
from jupyterhub_daas.core.access import Block, Standing
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.portal import recent
from jupyterhub_daas.services.portal.recent import SECONDS, RecentAccounts

BLOCK = Block(reason="Lost the key.", since=datetime(2026, 5, 1, tzinfo=timezone.utc))


class CountingAccounts(AccountsClient):
    """Answer from memory, and count."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/", "")
        self.asked: list[tuple[str, str | None]] = []
        self.block: Block | None = None
        self.away = False
        self.answering = asyncio.Event()

    async def standing(self, username: str, *, token: str | None = None) -> Standing:
        if self.away:
            raise UpstreamUnavailableError("away", service="accounts")
        self.asked.append((username, token))
        return Standing(
            username=username, blocked=self.block, conditions_version="1", conditions_accepted=True
        )

    async def favourites(self, username: str, *, token: str | None = None) -> tuple[str, ...]:
        self.answering.set()
        return ("20180301",)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def accounts() -> CountingAccounts:
    return CountingAccounts()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(accounts: CountingAccounts, clock: Clock) -> RecentAccounts:
    return RecentAccounts(accounts, clock)


async def test_asks_once_in_some_seconds(
    known: RecentAccounts, accounts: CountingAccounts, clock: Clock
) -> None:
    first = await known.account("amara", "token")
    accounts.block = BLOCK
    clock.now += SECONDS - 0.1
    assert await known.account("amara", "token") == first
    clock.now += 0.2
    assert (await known.account("amara", "token")).standing.blocked == BLOCK
    assert len(accounts.asked) == 2


async def test_tells_one_token_nothing_of_another(known: RecentAccounts, accounts: CountingAccounts) -> None:
    await known.account("amara", "token")
    await known.account("amara", "other")
    await known.account("bruno", "token")
    assert accounts.asked == [("amara", "token"), ("amara", "other"), ("bruno", "token")]


async def test_asks_anew_after_a_change(known: RecentAccounts, accounts: CountingAccounts) -> None:
    await known.account("amara", "token")
    known.forget("amara")
    accounts.block = BLOCK
    assert (await known.account("amara", "token")).standing.blocked == BLOCK


async def test_keeps_nothing_said_before_a_change(known: RecentAccounts, accounts: CountingAccounts) -> None:
    asking = asyncio.ensure_future(known.account("amara", "token"))
    await accounts.answering.wait()
    known.forget("amara")
    await asking
    accounts.block = BLOCK
    assert (await known.account("amara", "token")).standing.blocked == BLOCK


async def test_keeps_no_failure(known: RecentAccounts, accounts: CountingAccounts) -> None:
    accounts.away = True
    with pytest.raises(UpstreamUnavailableError):
        await known.account("amara", "token")
    accounts.away = False
    assert (await known.account("amara", "token")).favourites == ("20180301",)


async def test_holds_only_so_many(
    known: RecentAccounts, accounts: CountingAccounts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "MAX_PEOPLE", 3)
    for name in ("a", "b", "c"):
        await known.account(name, "token")
    clock.now += SECONDS
    await known.account("d", "token")
    assert list(known._known) == [("d", "token")]
