"""Identities of one person at two real providers: linked, taken away, and what that ends at once.

The hub asks again only every five minutes here: whatever ends in these tests ends by the loss itself.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.sign_in import browser, sign_in_with_provider
from tests.support.stack import ISSUER, Stack, xsrf_of
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

EXTRA = "c.DaasAuthenticator.providers = {providers!r}\n"


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """UmbrellaID, not started yet."""
    made = Umbrella(tmp_path_factory.mktemp("umbrella"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """A second provider, as the facility's own, not started yet."""
    made = Umbrella(tmp_path_factory.mktemp("keycloak"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def whole(
    umbrella: Umbrella, keycloak: Umbrella, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The portal with both."""
    providers = [umbrella.settings(), keycloak.settings(key="keycloak", title="Facility Keycloak")]
    made = Stack(tmp_path_factory.mktemp("linking"), extra=EXTRA.format(providers=providers))
    directory = made.folder / "facility.yaml"
    directory.write_text(directory.read_text().replace(ISSUER, umbrella.issuer))
    umbrella.start(made.url)
    keycloak.start(made.url, key="keycloak")
    try:
        yield made.start()
    finally:
        made.stop()


def identity_of(provider: Umbrella, login: str) -> dict[str, str]:
    """Return somebody's identity at a provider."""
    return {"issuer": provider.issuer, "subject": provider.subject_of(login)}


def sign_in(whole: Stack, provider: Umbrella, login: str, **query: str) -> tuple[requests.Session, Any]:
    """Sign in at a provider with a new browser."""
    session = browser()
    key = "umbrella" if "umbrella" in provider.folder.name else "keycloak"
    password = provider.password_of(login)
    return session, sign_in_with_provider(session, whole.url, login, password, key=key, **query)


def is_in(whole: Stack, session: requests.Session) -> bool:
    """Tell whether the hub still knows who this is."""
    return session.get(f"{whole.url}/hub/home", timeout=30, allow_redirects=False).status_code == 200


def own_token(whole: Stack, session: requests.Session, username: str) -> str:
    """Return a new API token that somebody makes for herself."""
    session.get(f"{whole.url}/hub/token", timeout=30)
    headers = {"X-XSRFToken": xsrf_of(session, "/hub/")}
    url = f"{whole.api}/users/{username}/tokens"
    answer = session.post(url, json={"note": "tests"}, headers=headers, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["token"])


def works(whole: Stack, token: str) -> bool:
    """Tell whether the hub takes a token."""
    headers = {"Authorization": f"token {token}"}
    return requests.get(f"{whole.api}/user", headers=headers, timeout=30).status_code == 200


def by_staff(whole: Stack, username: str, identity: dict[str, str], *, link: bool) -> requests.Response:
    """Link or unlink with a staff token."""
    method, path = ("PUT", "identities") if link else ("POST", "identities/unlink")
    body = {**identity, "reason": "Ticket 4711."}
    return whole.call("accounts", method, f"people/{username}/{path}", json=body)


def events_about(whole: Stack, username: str, action: str) -> list[dict[str, Any]]:
    """Return what the audit trail has about a person."""
    query = {"person": username, "action": action, "limit": "200"}
    return list(whole.call("accounts", "GET", "audit", params=query).json()["items"])


def test_staff_links_a_second_identity_and_takes_it_away(
    whole: Stack, umbrella: Umbrella, keycloak: Umbrella
) -> None:
    identity = identity_of(keycloak, "edgar")
    _, refused = sign_in(whole, keycloak, "edgar")
    assert refused.status_code == 403
    assert by_staff(whole, "edgar", identity, link=True).status_code == 200
    with_umbrella, _ = sign_in(whole, umbrella, "edgar")
    with_keycloak, _ = sign_in(whole, keycloak, "edgar")
    assert is_in(whole, with_umbrella)
    assert is_in(whole, with_keycloak)
    token = own_token(whole, with_keycloak, "edgar")
    assert works(whole, token)

    assert by_staff(whole, "edgar", identity, link=False).status_code == 204
    assert not is_in(whole, with_keycloak)
    assert not works(whole, token)
    _, refused = sign_in(whole, keycloak, "edgar")
    assert refused.status_code == 403
    # The hub has one cookie for all browsers of a person: this one signs in again, and is in.
    assert not is_in(whole, with_umbrella)
    answer = with_umbrella.get(f"{whole.url}/hub/auth/umbrella/oauth_login", timeout=30)
    assert answer.url.startswith(whole.url)
    assert is_in(whole, with_umbrella)
    events = events_about(whole, "edgar", "unlink")
    told = [(each["actor"]["name"], each["details"]["reason"]) for each in events]
    assert ("tests", "Ticket 4711.") in told


def test_an_identity_that_the_directory_gives_up_ends_what_came_of_it(
    whole: Stack, umbrella: Umbrella
) -> None:
    session, _ = sign_in(whole, umbrella, "bruno")
    token = own_token(whole, session, "bruno")
    directory = whole.folder / "facility.yaml"
    before = directory.read_text()
    directory.write_text(before.replace(umbrella.subject_of("bruno"), "somebody-else@umbrellaid.example"))
    query = identity_of(umbrella, "bruno")

    def given_up() -> bool:
        return whole.call("accounts", "GET", "identities", params=query).json()["username"] is None

    try:
        wait_until(given_up, 30, what="accounts has it from the directory")
        wait_until(lambda: not works(whole, token) and not is_in(whole, session), 30)
    finally:
        directory.write_text(before)
    wait_until(lambda: not given_up(), 30, what="the directory has it again")


@pytest.mark.parametrize("path", ["daas/people/amara/end-logins"])
def test_only_the_account_service_ends_logins(whole: Stack, umbrella: Umbrella, path: str) -> None:
    session, _ = sign_in(whole, umbrella, "amara")
    body = identity_of(umbrella, "amara")
    url = f"{whole.url}/hub/{path}"
    for headers in ({}, {"Authorization": f"token {own_token(whole, session, 'amara')}"}):
        assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 403
    headers = {"Authorization": f"token {whole.service_token}"}
    assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 403
    assert is_in(whole, session)


def test_people_who_never_signed_in_can_be_linked_and_unlinked(whole: Stack) -> None:
    identity = {"issuer": "https://elsewhere.example", "subject": "goran"}
    assert by_staff(whole, "goran", identity, link=True).status_code == 200
    assert by_staff(whole, "goran", identity, link=False).status_code == 204
    assert by_staff(whole, "goran", identity, link=False).status_code == 404
    assert by_staff(whole, "nobody", identity, link=True).status_code == 404
