"""Who is entitled to what: asked once, kept for seconds, never guessed."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from jupyterhub_daas.clients import AccountsClient, ProposalsClient
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.quota import Bypass, QuotaPolicy
from jupyterhub_daas.core.resources import Limits
from jupyterhub_daas.errors import NotFoundError, UpstreamUnavailableError
from jupyterhub_daas.services.quotas.entitlements import Entitlements
from jupyterhub_daas.services.quotas.store import utc_now
from tests.services.quotas.neighbours import OWN_TOKEN, Neighbours

POLICY = QuotaPolicy(
    default=Limits(machines=5),
    roles={Role.STAFF: Limits(machines=8)},
    groups={"big": Limits(machines=9)},
    bypass=Bypass(roles=frozenset({Role.ADMIN})),
)


@pytest.fixture
def asked(neighbours: Neighbours) -> Iterator[Neighbours]:
    neighbours.asked.clear()
    yield neighbours
    neighbours.away.clear()
    neighbours.roles.clear()
    neighbours.groups.clear()


class Asking:
    """Entitlements with clients of their own."""

    def __init__(self, neighbours: Neighbours) -> None:
        self.accounts = AccountsClient(neighbours.url("accounts"), OWN_TOKEN)
        self.proposals = ProposalsClient(neighbours.url("proposals"), OWN_TOKEN)

    def under(self, policy: QuotaPolicy) -> Entitlements:
        """Return entitlements under a policy."""
        return Entitlements(policy, self.accounts, self.proposals, clock=utc_now)


@pytest.fixture
async def asking(asked: Neighbours) -> AsyncIterator[Asking]:
    made = Asking(asked)
    yield made
    await made.accounts.close()
    await made.proposals.close()


@pytest.mark.parametrize(
    ("roles", "groups", "machines", "bypass"),
    [
        ([], [], 5, False),
        (["staff"], [], 8, False),
        ([], ["big"], 9, False),
        (["staff"], ["big"], 9, False),
        (["admin"], [], None, True),
    ],
)
async def test_roles_and_groups_count(
    asking: Asking,
    asked: Neighbours,
    roles: list[str],
    groups: list[str],
    machines: int | None,
    bypass: bool,
) -> None:
    asked.roles["chiara"], asked.groups["chiara"] = roles, groups
    entitlement = await asking.under(POLICY).of("chiara")
    assert (entitlement.limits.machines, entitlement.bypass) == (machines, bypass)


async def test_asks_once_for_many_at_once(asking: Asking, asked: Neighbours) -> None:
    entitlements = asking.under(POLICY)
    await asyncio.gather(*(entitlements.of("amara") for _ in range(20)))
    await entitlements.of("amara")
    assert (asked.asked["accounts"], asked.asked["proposals"]) == (1, 1)


async def test_asks_again_after_a_while(
    asking: Asking, asked: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterhub_daas.services.quotas.entitlements.KEPT_SECONDS", 0.0)
    entitlements = asking.under(POLICY)
    assert (await entitlements.of("amara")).limits.machines == 5
    asked.roles["amara"] = ["staff"]
    assert (await entitlements.of("amara")).limits.machines == 8


async def test_forgets_people_who_are_long_gone(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyterhub_daas.services.quotas.entitlements.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("jupyterhub_daas.services.quotas.entitlements.MAX_KEPT", 2)
    entitlements = asking.under(POLICY)
    for username in ("amara", "bruno", "chiara", "sofia"):
        await entitlements.of(username)
    assert len(entitlements._kept) <= 2


@pytest.mark.parametrize("away", ["accounts", "proposals"])
async def test_grants_nothing_while_a_service_is_away_and_recovers(
    asking: Asking, asked: Neighbours, away: str
) -> None:
    entitlements = asking.under(POLICY)
    asked.away.add(away)
    for _ in range(2):
        with pytest.raises(UpstreamUnavailableError) as refused:
            await entitlements.of("amara")
    assert refused.value.details["service"] == away
    asked.away.clear()
    assert (await entitlements.of("amara")).limits.machines == 5


async def test_refuses_a_person_whom_the_facility_does_not_know(asking: Asking) -> None:
    with pytest.raises(NotFoundError):
        await asking.under(POLICY).of("nobody")


async def test_asks_nobody_when_nothing_depends_on_it(asking: Asking, asked: Neighbours) -> None:
    asked.away.update({"accounts", "proposals"})
    entitlement = await asking.under(QuotaPolicy(default=Limits(machines=5))).of("amara")
    assert entitlement.limits.machines == 5
    assert asked.asked.total() == 0


async def test_a_first_caller_who_goes_away_takes_no_answer_with_her(asking: Asking) -> None:
    entitlements = asking.under(POLICY)
    first = asyncio.ensure_future(entitlements.of("amara"))
    second = asyncio.ensure_future(entitlements.of("amara"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).limits.machines == 5
