"""How long an outage may last, and what a refresh asks of the hub's user."""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jupyterhub_daas.authenticators.entry import KeptLogin
from jupyterhub_daas.authenticators.gate import Gate
from jupyterhub_daas.authenticators.openid import OpenIDProvider, ProviderSettings, Tokens
from jupyterhub_daas.authenticators.refresh import Refresher
from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.entitlements import EntitlementRule, EntitlementSource
from jupyterhub_daas.core.people import Identity, Role
from tests.authenticators.test_provider import client_of, sign_in
from tests.support.directory_services import TOKEN, DirectoryServices
from tests.support.identity_provider import IdentityProvider

HOUR = 3600.0
NAMESPACE = "urn:example:aai.example"


class User:
    """What the hub hands over: a name, and the state that it keeps."""

    def __init__(self, name: str, state: Any) -> None:
        self.name = name
        self.state = state

    async def get_auth_state(self) -> Any:
        """Return the state."""
        return self.state

    async def save_auth_state(self, state: Any) -> None:
        """Keep a new state."""
        self.state = state


class Page:
    """A request by cookie."""

    def __init__(self, user: User, *, token: bool = False) -> None:
        self._jupyterhub_user = user
        self._token_authenticated = token


@pytest.fixture
async def gate(services: DirectoryServices, provider: IdentityProvider) -> AsyncIterator[Gate]:
    """A gate that asks the stand-ins."""
    urls = services.urls
    rule = EntitlementRule(group="floor", role=Role.STAFF, hub_group="floor")
    source = EntitlementSource(issuer=provider.issuer, namespace=NAMESPACE, authorities=("",), rules=(rule,))
    clients = ProposalsClient(urls["proposals"], TOKEN), AccountsClient(urls["accounts"], TOKEN)
    made = Gate(*clients, entitlements=(source,))
    yield made
    await made.close()


def kept(umbrella: IdentityProvider, **changes: Any) -> dict[str, Any]:
    """Return the state of somebody who signed in just now."""
    state = KeptLogin(
        username="amara",
        provider="umbrella",
        identity=Identity(issuer=umbrella.issuer, subject="amara@umbrella.example"),
        tokens=Tokens("x", "", "", time.time() + HOUR),
        admitted_at=time.time(),
    )
    return state.model_copy(update=changes).dump()


def refresher(gate: Gate, provider: IdentityProvider) -> Refresher:
    """Return a refresher with a grace of one hour."""
    client = OpenIDProvider(ProviderSettings.model_validate(provider.settings()))
    log = logging.getLogger("test")
    return Refresher(gate=gate, providers={"umbrella": client}, sources={}, grace=HOUR, log=log)


@pytest.mark.parametrize(
    ("since", "goes_on"), [(HOUR - 60, True), (HOUR + 60, False)], ids=["within", "after"]
)
@pytest.mark.parametrize("away", ["services", "provider"])
async def test_an_outage_is_borne_for_as_long_as_the_grace(
    gate: Gate,
    services: DirectoryServices,
    provider: IdentityProvider,
    since: float,
    goes_on: bool,
    away: str,
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    if away == "services":
        services.away.add("accounts")
    else:
        provider.away.add("userinfo")
    user = User("amara", kept(provider, admitted_at=time.time() - since))
    answer = await refresher(gate, provider).refresh(user, Page(user))
    assert bool(answer) is goes_on


@pytest.mark.parametrize(
    ("since", "goes_on"), [(HOUR - 60, True), (HOUR + 60, False)], ids=["within", "after"]
)
async def test_a_grant_that_is_over_leaves_tokens_for_the_grace_and_no_browser(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider, since: float, goes_on: bool
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    user = User("amara", kept(provider, admitted_at=time.time() - since))  # with a token of nobody
    made = refresher(gate, provider)
    assert await made.refresh(user, Page(user)) is False
    assert bool(await made.refresh(user, Page(user, token=True))) is goes_on


@pytest.mark.parametrize("seconds", [1, 300], ids=["at a renewal", "at userinfo"])
async def test_somebody_else_in_the_providers_answer_ends_tokens_too_and_for_good(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider, seconds: int
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    provider.access_token_seconds = seconds
    user = User("amara", kept(provider, tokens=(await sign_in(client_of(provider))).tokens))
    provider.subject = "bruno@umbrella.example"
    made = refresher(gate, provider)
    for _ in range(2):
        assert await made.refresh(user, Page(user, token=True)) is False
    provider.subject = "amara@umbrella.example"
    assert await made.refresh(user, Page(user, token=True)) is False


async def test_an_outage_of_the_provider_does_not_start_the_grace_anew(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    provider.away.add("userinfo")
    before = time.time() - 1800
    user = User("amara", kept(provider, admitted_at=before))
    answer = await refresher(gate, provider).refresh(user, Page(user))
    assert isinstance(answer, dict)
    assert answer["auth_state"]["admitted_at"] == before
    assert answer["groups"] == ["daas-user"]  # what our services say is up to date all the same


@pytest.mark.parametrize("state", [None, {}, {"v": 2}, {"v": 1, "username": "amara"}, "text"])
async def test_a_browser_without_a_state_that_we_understand_signs_in_again(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider, state: Any
) -> None:
    services.know("amara")
    user = User("amara", state)
    made = refresher(gate, provider)
    assert await made.refresh(user, Page(user)) is False
    answer = await made.refresh(user, Page(user, token=True))
    assert isinstance(answer, dict)
    assert "auth_state" not in answer


@pytest.mark.parametrize("changes", [{"provider": "gone"}, {"provider": ""}], ids=["provider", "accounts"])
async def test_a_way_in_that_is_no_longer_offered_ends_its_logins(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider, changes: dict[str, Any]
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    user = User("amara", kept(provider, **changes))
    assert await refresher(gate, provider).refresh(user, Page(user)) is False


async def test_an_outage_lets_nobody_in_who_never_signed_in(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    services.know("amara")
    services.away.add("proposals")
    user = User("amara", None)
    assert await refresher(gate, provider).refresh(user, Page(user, token=True)) is False


async def test_another_persons_request_is_like_one_by_token(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    services.know("amara")
    user, staff = User("amara", None), User("sofia", None)
    assert isinstance(await refresher(gate, provider).refresh(user, Page(staff)), dict)


async def test_a_rotated_token_is_kept_before_the_next_refresh_may_need_it(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    services.know("amara", identity=(provider.issuer, "amara@umbrella.example"))
    provider.access_token_seconds = 1
    signed_in = await sign_in(client_of(provider))
    user = User("amara", kept(provider, tokens=signed_in.tokens))
    made = refresher(gate, provider)
    for _ in range(3):  # the hub stores what it gets some time later: here never
        assert isinstance(await made.refresh(user, Page(user)), dict)
    assert KeptLogin.model_validate(user.state).tokens.refresh_token != signed_in.tokens.refresh_token


# --- entitlements


async def entitled_user(provider: IdentityProvider, *, seconds: int = 300) -> User:
    """Return somebody who signed in while her provider said that she is in the group."""
    provider.access_token_seconds = seconds
    provider.claims = {**provider.claims, "entitlements": [f"{NAMESPACE}:group:floor"]}
    tokens = (await sign_in(client_of(provider))).tokens
    return User("amara", kept(provider, tokens=tokens, entitled_groups=("floor",)))


def entitle(services: DirectoryServices, provider: IdentityProvider) -> None:
    """Know her, without a proposal, and what her provider said of her."""
    services.know("amara", proposals=0, identity=(provider.issuer, "amara@umbrella.example"))
    services.entitled["amara"] = [{"role": "staff", "instruments": []}]


async def test_what_a_provider_says_again_stays(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    entitle(services, provider)
    user = await entitled_user(provider)
    answer = await refresher(gate, provider).refresh(user, Page(user))
    assert isinstance(answer, dict)
    assert answer["groups"] == ["daas-staff", "daas-user", "floor"]
    assert services.asked["standing"] == 1


async def test_what_a_provider_takes_back_ends_at_the_refresh(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    entitle(services, provider)
    user = await entitled_user(provider)
    provider.claims = {**provider.claims, "entitlements": []}
    assert await refresher(gate, provider).refresh(user, Page(user)) is False
    assert services.entitled["amara"] == []
    # With a proposal she stays, without what the group gave.
    services.proposals["amara"] = 1
    services.entitled["amara"] = [{"role": "staff", "instruments": []}]
    answer = await refresher(gate, provider).refresh(user, Page(user))
    assert isinstance(answer, dict)
    assert answer["groups"] == ["daas-user"]
    assert answer["auth_state"]["entitled_groups"] == []


@pytest.mark.parametrize("seconds", [1, 300], ids=["at a renewal", "at userinfo"])
async def test_a_provider_that_says_nothing_takes_nothing_back(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider, seconds: int
) -> None:
    entitle(services, provider)
    user = await entitled_user(provider, seconds=seconds)
    provider.away.add("userinfo")
    answer = await refresher(gate, provider).refresh(user, Page(user))
    assert isinstance(answer, dict)
    assert answer["groups"] == ["daas-staff", "daas-user", "floor"]
    assert services.asked["entitle"] == 0


async def test_an_identity_that_was_lost_meanwhile_gives_nothing(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    entitle(services, provider)
    user = await entitled_user(provider)
    no = {"error": {"code": "not_found", "message": "There is nothing here for you."}}
    services.answers["entitle"] = (404, no)
    assert await refresher(gate, provider).refresh(user, Page(user)) is False


async def test_entitlements_that_cannot_be_kept_are_an_outage(
    gate: Gate, services: DirectoryServices, provider: IdentityProvider
) -> None:
    entitle(services, provider)
    user = await entitled_user(provider)
    services.answers["entitle"] = (503, {})
    assert await refresher(gate, provider).refresh(user, Page(user)) is True
