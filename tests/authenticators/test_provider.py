"""One provider over real sockets: what it proves, and every way in which it may lie or be away."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from jupyterhub_daas.authenticators.openid import OpenIDProvider, ProviderSettings, SignIn
from jupyterhub_daas.authenticators.openid.state import SignInState, new_state
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    UnauthenticatedError,
    UpstreamAnswerError,
    UpstreamError,
    UpstreamUnavailableError,
)
from tests.support.identity_provider import SECRET, IdentityProvider, signed_with_public_key, unsigned

CALLBACK = "http://127.0.0.1:9/hub/auth/umbrella/oauth_callback"


def client_of(provider: IdentityProvider, **changes: Any) -> OpenIDProvider:
    """Return our side of this provider."""
    return OpenIDProvider(ProviderSettings.model_validate(provider.settings(**changes)))


async def answer_of(client: OpenIDProvider, state: SignInState) -> dict[str, str]:
    """Go to the provider as a browser would, and return what it sends back."""
    url = await client.authorization_url(state, CALLBACK)
    async with aiohttp.ClientSession() as browser, browser.get(url, allow_redirects=False) as response:
        assert response.status == 302
        query = parse_qs(urlsplit(response.headers["Location"]).query)
    return {name: values[0] for name, values in query.items()}


async def sign_in(client: OpenIDProvider) -> SignIn:
    """Sign in from the beginning to the end."""
    state = new_state("/")
    answer = await answer_of(client, state)
    await client.check_answers_issuer(answer.get("iss"))
    return await client.sign_in(answer["code"], state, CALLBACK)


async def test_a_sign_in_proves_an_identity(provider: IdentityProvider) -> None:
    found = await sign_in(client_of(provider))
    assert found.identity == Identity(issuer=provider.issuer, subject="amara@umbrella.example")
    assert found.claims["name"] == "Amara Okafor"  # userinfo only has it


async def test_the_request_carries_state_nonce_and_a_challenge_but_no_verifier(
    provider: IdentityProvider,
) -> None:
    state = new_state("/")
    query = parse_qs(urlsplit(await client_of(provider).authorization_url(state, CALLBACK)).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"] == [state.state_id]
    assert query["nonce"] == [state.nonce]
    assert state.verifier not in str(query)
    assert state.nonce != state.state_id


FORGERIES: dict[str, Callable[[IdentityProvider], None]] = {
    "signed by another key": lambda it: setattr(it, "key", rekeyed(it)),
    "not signed": lambda it: setattr(it, "sign", unsigned),
    "hmac with the public key": lambda it: setattr(
        it,
        "sign",
        lambda claims: signed_with_public_key(claims, it.key, it.kid),  # type: ignore[arg-type]
    ),
    "for another client": lambda it: setattr(it, "change_claims", lambda claims: {**claims, "aud": "other"}),
    "from another issuer": lambda it: setattr(
        it, "change_claims", lambda claims: {**claims, "iss": "https://evil.example"}
    ),
    "nonce of another sign-in": lambda it: setattr(
        it, "change_claims", lambda claims: {**claims, "nonce": "x"}
    ),
    "clock an hour behind": lambda it: setattr(it, "clock", lambda: time.time() - 3600),
    "clock an hour ahead": lambda it: setattr(it, "clock", lambda: time.time() + 3600),
    "token of another access token": lambda it: setattr(
        it, "change_claims", lambda claims: {**claims, "at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}
    ),
    "userinfo about somebody else": lambda it: setattr(
        it, "userinfo", lambda _: web.json_response({"sub": "chiara@umbrella.example"})
    ),
    "userinfo about nobody": lambda it: setattr(
        it, "userinfo", lambda _: web.json_response({"name": "Amara"})
    ),
    "userinfo differs in letter case": lambda it: setattr(
        it, "userinfo", lambda subject: web.json_response({"sub": subject.upper()})
    ),
    "key that nobody published": lambda it: setattr(it, "jwks", lambda: web.json_response({"keys": []})),
}


def rekeyed(provider: IdentityProvider) -> RSAKey:
    """Return a new key, after the provider's present one is pinned as the published one."""
    published = provider._jwks_response()
    body = published.body
    provider.jwks = lambda: web.Response(body=body, content_type="application/json")
    key: RSAKey = RSAKey.generate_key(2048)
    return key


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_refuses_a_lie(provider: IdentityProvider, forge: Callable[[IdentityProvider], None]) -> None:
    forge(provider)
    with pytest.raises(UnauthenticatedError):
        await sign_in(client_of(provider))


NONSENSE: dict[str, Callable[[IdentityProvider], None]] = {
    "userinfo of 1 MB": lambda it: setattr(
        it, "userinfo", lambda subject: web.json_response({"sub": subject, "name": "n" * 1_000_000})
    ),
    "userinfo is a page": lambda it: setattr(
        it, "userinfo", lambda _: web.Response(text="<html>hello</html>")
    ),
    "userinfo is a list": lambda it: setattr(it, "userinfo", lambda _: web.json_response(["sub"])),
    "userinfo redirects": lambda it: setattr(
        it, "userinfo", lambda _: web.Response(status=302, headers={"Location": f"{it.issuer}/elsewhere"})
    ),
    "keys redirect": lambda it: setattr(
        it, "jwks", lambda: web.Response(status=302, headers={"Location": f"{it.issuer}/elsewhere/jwks"})
    ),
    "keys of 1 MB": lambda it: setattr(
        it, "jwks", lambda: web.json_response({"keys": [], "x": "x" * 1_000_000})
    ),
    "discovery names another issuer": lambda it: it.metadata_changes.update(issuer="https://evil.example"),
    "discovery differs by a slash": lambda it: it.metadata_changes.update(issuer=f"{it.issuer}/"),
    "discovery lacks the keys": lambda it: it.metadata_changes.update(jwks_uri=None),
    "keys without protection": lambda it: it.metadata_changes.update(jwks_uri="http://keys.example/jwks"),
    "no ID token": lambda it: setattr(it, "token_changes", lambda answer: {**answer, "id_token": None}),
    "no access token": lambda it: setattr(it, "token_changes", lambda answer: {**answer, "access_token": ""}),
    "another kind of token": lambda it: setattr(
        it, "token_changes", lambda answer: {**answer, "token_type": "mac"}
    ),
    "lifetime as text": lambda it: setattr(it, "token_changes", lambda answer: {**answer, "expires_in": "x"}),
}


@pytest.mark.parametrize("distort", NONSENSE.values(), ids=NONSENSE)
async def test_accepts_no_nonsense(
    provider: IdentityProvider, distort: Callable[[IdentityProvider], None]
) -> None:
    distort(provider)
    with pytest.raises(UpstreamAnswerError) as error:
        await sign_in(client_of(provider))
    assert SECRET not in error.value.message
    assert provider.asked["jwks elsewhere"] == 0


async def test_a_provider_that_is_away_gets_no_browser(provider: IdentityProvider) -> None:
    provider.away.add("discovery")
    with pytest.raises(UpstreamUnavailableError) as error:
        await client_of(provider).authorization_url(new_state("/"), CALLBACK)
    assert "UmbrellaID" in error.value.message


@pytest.mark.parametrize("place", ["token", "jwks", "userinfo"])
async def test_an_outage_is_no_refusal(provider: IdentityProvider, place: str) -> None:
    client, state = client_of(provider), new_state("/")
    answer = await answer_of(client, state)
    provider.away.add(place)
    with pytest.raises(UpstreamUnavailableError) as error:
        await client.sign_in(answer["code"], state, CALLBACK)
    assert "UmbrellaID" in error.value.message


async def test_finds_a_provider_that_came_back(
    provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(provider)
    provider.stop()
    await client.look()
    assert client.away
    with pytest.raises(UpstreamUnavailableError):
        await client.authorization_url(new_state("/"), CALLBACK)
    provider.start()
    monkeypatch.setattr("jupyterhub_daas.authenticators.openid.provider.RETRY_AFTER", 0.0)
    await client.look()
    assert not client.away
    assert (await sign_in(client)).identity.subject == "amara@umbrella.example"


async def test_takes_over_rotated_keys(provider: IdentityProvider) -> None:
    client = client_of(provider)
    await sign_in(client)
    provider.rotate_keys("second")
    assert (await sign_in(client)).identity.subject == "amara@umbrella.example"
    assert provider.asked["jwks"] == 2


async def test_looks_for_an_unknown_key_once_more_and_only_once(provider: IdentityProvider) -> None:
    client = client_of(provider)
    await sign_in(client)
    published = provider._jwks_response().body
    provider.rotate_keys("never published")
    provider.jwks = lambda: web.Response(body=published, content_type="application/json")
    with pytest.raises(UnauthenticatedError) as refusal:
        await sign_in(client)
    assert refusal.value.details["cause"] == "unknown_key"
    assert provider.asked["jwks"] == 2


@pytest.mark.parametrize("seconds", [-119, 119])
async def test_accepts_a_clock_two_minutes_off(provider: IdentityProvider, seconds: int) -> None:
    provider.clock = lambda: time.time() + seconds
    assert (await sign_in(client_of(provider))).identity.subject == "amara@umbrella.example"


ISSUERS: dict[str, tuple[bool, str | None, bool]] = {
    "announced and ours": (True, "ours", True),
    "announced and missing": (True, None, False),
    "announced and another": (True, "https://evil.example", False),
    "not announced and missing": (False, None, True),
    "not announced and another": (False, "https://evil.example", False),
}


@pytest.mark.parametrize(("announced", "sent", "fits"), ISSUERS.values(), ids=ISSUERS)
async def test_refuses_an_answer_of_another_provider(
    provider: IdentityProvider, announced: bool, sent: str | None, fits: bool
) -> None:
    provider.metadata_changes["authorization_response_iss_parameter_supported"] = announced
    client = client_of(provider)
    issuer = provider.issuer if sent == "ours" else sent
    if fits:
        await client.check_answers_issuer(issuer)
    else:
        with pytest.raises(UnauthenticatedError):
            await client.check_answers_issuer(issuer)


async def test_a_code_works_once_and_with_its_own_verifier(provider: IdentityProvider) -> None:
    client = client_of(provider)
    state = new_state("/")
    first, second = await answer_of(client, state), await answer_of(client, state)
    await client.sign_in(first["code"], state, CALLBACK)
    with pytest.raises(UnauthenticatedError):
        await client.sign_in(first["code"], state, CALLBACK)
    with pytest.raises(UnauthenticatedError):
        await client.sign_in(second["code"], new_state("/"), CALLBACK)


async def test_a_wrong_secret_is_our_fault_and_is_not_told(provider: IdentityProvider) -> None:
    with pytest.raises(UpstreamError) as error:
        await sign_in(client_of(provider, client_secret="wrong-secret"))
    assert "wrong-secret" not in str(error.value)


async def test_renews_an_access_token_that_has_ended(provider: IdentityProvider) -> None:
    client = client_of(provider)
    provider.access_token_seconds = 1
    held = (await sign_in(client)).tokens
    later = await client.ask_again("amara@umbrella.example", held)
    assert later.tokens.access_token != held.access_token
    assert later.tokens.refresh_token not in ("", held.refresh_token)
    assert provider.forms[-1]["grant_type"] == "refresh_token"


async def test_asks_with_the_token_at_hand_while_it_lasts(provider: IdentityProvider) -> None:
    client = client_of(provider)
    held = (await sign_in(client)).tokens
    assert (await client.ask_again("amara@umbrella.example", held)).tokens == held
    assert provider.asked["token"] == 1


@pytest.mark.parametrize("seconds", [1, 300], ids=["ended", "lasting"])
async def test_a_revoked_grant_is_a_refusal(provider: IdentityProvider, seconds: int) -> None:
    client = client_of(provider)
    provider.access_token_seconds = seconds
    held = (await sign_in(client)).tokens
    provider.revoke_everything()
    with pytest.raises(UnauthenticatedError):
        await client.ask_again("amara@umbrella.example", held)


async def test_an_ended_token_that_cannot_be_renewed_is_a_refusal(provider: IdentityProvider) -> None:
    client = client_of(provider)
    provider.access_token_seconds, provider.issue_refresh_tokens = 1, False
    held = (await sign_in(client)).tokens
    with pytest.raises(UnauthenticatedError):
        await client.ask_again("amara@umbrella.example", held)


async def test_refuses_a_refresh_that_yields_somebody_else(provider: IdentityProvider) -> None:
    client = client_of(provider)
    provider.access_token_seconds = 1
    held = (await sign_in(client)).tokens
    provider.subject = "chiara@umbrella.example"
    with pytest.raises(UnauthenticatedError):
        await client.ask_again("amara@umbrella.example", held)


async def test_keeps_a_rotated_token_when_the_rest_of_the_provider_is_away(
    provider: IdentityProvider,
) -> None:
    client = client_of(provider)
    provider.access_token_seconds = 1
    held = (await sign_in(client)).tokens
    provider.away.add("userinfo")
    later = await client.ask_again("amara@umbrella.example", held)
    assert later.tokens.refresh_token != held.refresh_token
    provider.away.clear()
    assert (await client.ask_again("amara@umbrella.example", later.tokens)).claims["name"] == "Amara Okafor"


async def test_a_provider_away_at_a_refresh_is_an_outage(provider: IdentityProvider) -> None:
    client = client_of(provider)
    held = (await sign_in(client)).tokens
    provider.stop()
    with pytest.raises(UpstreamUnavailableError):
        await client.ask_again("amara@umbrella.example", held)


async def test_the_way_out_comes_back_to_the_portal(provider: IdentityProvider) -> None:
    client = client_of(provider)
    held = (await sign_in(client)).tokens
    url = await client.end_session_url(held.id_token, "http://127.0.0.1:9/hub/login")
    assert url is not None
    query = parse_qs(urlsplit(url).query)
    assert query["id_token_hint"] == [held.id_token]
    assert query["post_logout_redirect_uri"] == ["http://127.0.0.1:9/hub/login"]


async def test_a_provider_without_logout_has_no_way_out(provider: IdentityProvider) -> None:
    provider.metadata_changes["end_session_endpoint"] = None
    assert await client_of(provider).end_session_url("", "http://127.0.0.1:9/") is None
