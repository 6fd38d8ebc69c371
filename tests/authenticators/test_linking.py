"""Identities of one person at two real providers: linked, taken away, and what that ends at once.

The hub asks again only every five minutes here: whatever ends in these tests ends by the loss itself.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.guides import provider_of
from tests.support.sign_in import browser, first_form, sign_in_with_account, sign_in_with_provider
from tests.support.stack import ISSUER, Stack, xsrf_of
from tests.support.umbrella import SECRET, Umbrella
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
    """The portal with both, set up as the guides say."""
    folder = tmp_path_factory.mktemp("linking")
    providers = []
    for provider, guide in ((umbrella, "umbrella-id.md"), (keycloak, "keycloak.md")):
        settings = provider_of(guide)
        secret = folder / f"{settings['key']}.secret"
        secret.write_text(f"{SECRET}\n")
        providers.append(
            settings | {"issuer": provider.issuer, "client_id": "hub", "client_secret_file": str(secret)}
        )
    made = Stack(folder, extra=EXTRA.format(providers=providers))
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


@pytest.mark.parametrize("path", ["daas/people/amara/end-logins", "daas/people/amara/ask-again"])
def test_only_the_account_service_ends_logins(whole: Stack, umbrella: Umbrella, path: str) -> None:
    session, _ = sign_in(whole, umbrella, "amara")
    body = identity_of(umbrella, "amara")
    url = f"{whole.url}/hub/{path}"
    for headers in ({}, {"Authorization": f"token {own_token(whole, session, 'amara')}"}):
        assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 403
    headers = {"Authorization": f"token {whole.service_token}"}
    assert requests.post(url, json=body, headers=headers, timeout=30).status_code == 403
    assert is_in(whole, session)


def test_a_block_waits_for_no_refresh(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = sign_in(whole, umbrella, "edgar")
    token = own_token(whole, session, "edgar")
    assert is_in(whole, session)
    reason = {"reason": "Please call us."}
    whole.call("accounts", "PUT", "people/edgar/block", json=reason).raise_for_status()
    try:
        assert not is_in(whole, session)
        assert not works(whole, token)
        _, refused = sign_in(whole, umbrella, "edgar")
        assert (refused.status_code, "Please call us." in refused.text) == (403, True)
    finally:
        whole.call("accounts", "DELETE", "people/edgar/block")
    assert works(whole, token)
    by = [events_about(whole, "edgar", action)[0]["actor"]["name"] for action in ("block", "unblock")]
    assert by == ["tests", "tests"]


def test_people_who_never_signed_in_can_be_linked_and_unlinked(whole: Stack) -> None:
    identity = {"issuer": "https://elsewhere.example", "subject": "goran"}
    assert by_staff(whole, "goran", identity, link=True).status_code == 200
    assert by_staff(whole, "goran", identity, link=False).status_code == 204
    assert by_staff(whole, "goran", identity, link=False).status_code == 404
    assert by_staff(whole, "nobody", identity, link=True).status_code == 404


# --- the page "Sign-in methods"


def page_of(whole: Stack) -> str:
    """Return the address of the page."""
    return f"{whole.url}/hub/identities"


def prove(whole: Stack, session: requests.Session, provider: Umbrella, login: str) -> requests.Response:
    """Sign in once more, from the page and back to it."""
    key = "umbrella" if "umbrella" in provider.folder.name else "keycloak"
    known = {"key": key, "prove": "1", "next": "/hub/identities"}
    answer = sign_in_with_provider(session, whole.url, login, provider.password_of(login), **known)
    assert answer.url == page_of(whole), answer.text[:2000]
    return answer


def press(
    whole: Stack, session: requests.Session, action: str, *, token: str | None = None, **fields: str
) -> requests.Response:
    """Send one of the page's forms."""
    if token is None:
        form = first_form(session.get(page_of(whole), timeout=30).text, "_xsrf")
        token = form[1]["_xsrf"] if form else xsrf_of(session, "/hub/")
    body = {"_xsrf": token, "action": action, **fields}
    return session.post(page_of(whole), data=body, timeout=30)


def is_confirmed(answer: requests.Response) -> bool:
    """Tell whether the page takes it that the person herself is there."""
    return 'data-confirmed="yes"' in answer.text


def owner(whole: Stack, identity: dict[str, str]) -> str | None:
    """Return whose an identity is."""
    found: str | None = whole.call("accounts", "GET", "identities", params=identity).json()["username"]
    return found


def test_a_person_links_another_account_and_unlinks_it(
    whole: Stack, umbrella: Umbrella, keycloak: Umbrella
) -> None:
    identity = identity_of(keycloak, "amara")
    session, _ = sign_in(whole, umbrella, "amara")
    page = session.get(page_of(whole), timeout=30)
    assert umbrella.subject_of("amara") in page.text
    assert not is_confirmed(page)

    assert is_confirmed(prove(whole, session, umbrella, "amara"))
    page = prove(whole, session, keycloak, "amara")
    assert f'data-candidate="{identity["subject"]}"' in page.text
    assert owner(whole, identity) is None
    assert press(whole, session, "link", token="", **identity).status_code == 403
    assert press(whole, session, "link", token="guessed", **identity).status_code == 403
    assert owner(whole, identity) is None
    page = press(whole, session, "link", **identity)
    assert (page.status_code, page.url) == (200, f"{page_of(whole)}?done=linked")
    assert owner(whole, identity) == "amara"

    elsewhere, _ = sign_in(whole, keycloak, "amara")
    assert is_in(whole, elsewhere)
    token = own_token(whole, elsewhere, "amara")
    page = press(whole, session, "unlink", **identity)
    assert page.url.startswith(f"{whole.url}/hub/login")
    assert owner(whole, identity) is None
    assert not is_in(whole, elsewhere)
    assert not is_in(whole, session)
    assert not works(whole, token)
    assert sign_in(whole, keycloak, "amara")[1].status_code == 403
    page = session.get(
        f"{whole.url}/hub/auth/umbrella/oauth_login",
        timeout=30,
        params={"next": "/hub/identities?done=unlinked"},
    )
    assert "Unlinked." in page.text
    assert not is_confirmed(page)

    for action in ("link", "unlink"):
        event = events_about(whole, "amara", action)[0]
        assert event["actor"] == {"kind": "person", "name": "amara"}
        assert umbrella.subject_of("amara") in event["details"]["reason"]


def test_a_sign_in_that_was_not_asked_for_anew_links_nothing(
    whole: Stack, umbrella: Umbrella, keycloak: Umbrella
) -> None:
    identity = identity_of(keycloak, "bruno")
    session = browser()
    password = keycloak.password_of("bruno")
    answer = sign_in_with_provider(session, whole.url, "bruno", password, key="keycloak")
    assert answer.status_code == 403  # known at the provider, and nobody's here
    sign_in_with_provider(session, whole.url, "bruno", umbrella.password_of("bruno"))
    page = session.get(page_of(whole), timeout=30)
    assert f'data-candidate="{identity["subject"]}"' in page.text
    assert not is_confirmed(page)
    refused = press(whole, session, "link", **identity)
    assert refused.status_code == 409
    assert "confirm first that it is you" in refused.text
    prove(whole, session, umbrella, "bruno")
    refused = press(whole, session, "link", **identity)
    assert refused.status_code == 409
    assert "sign in there once more" in refused.text
    assert owner(whole, identity) is None


def test_another_persons_sign_in_confirms_nothing(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = sign_in(whole, umbrella, "amara")
    page = prove(whole, session, umbrella, "bruno")
    assert not is_confirmed(page)
    home = session.get(f"{whole.url}/hub/home", timeout=30)
    assert 'name="username" value="bruno"' not in home.text
    refused = press(whole, session, "unlink", **identity_of(umbrella, "amara"))
    assert refused.status_code == 409
    assert owner(whole, identity_of(umbrella, "amara")) == "amara"


def test_what_belongs_to_somebody_else_cannot_be_linked(
    whole: Stack, umbrella: Umbrella, keycloak: Umbrella
) -> None:
    identity = identity_of(keycloak, "chiara")
    assert by_staff(whole, "chiara", identity, link=True).status_code == 200
    session, _ = sign_in(whole, umbrella, "bruno")
    prove(whole, session, umbrella, "bruno")
    prove(whole, session, keycloak, "chiara")
    refused = press(whole, session, "link", **identity)
    assert refused.status_code == 409
    assert "belongs to somebody else" in refused.text
    second = identity_of(umbrella, "zoe")
    prove(whole, session, umbrella, "zoe")
    refused = press(whole, session, "link", **second)
    assert refused.status_code == 409
    assert "Another account of the same provider" in refused.text
    assert owner(whole, identity) == "chiara"
    assert owner(whole, second) is None


def test_a_password_confirms_who_it_is(whole: Stack) -> None:
    session = browser()
    sign_in_with_account(session, whole.url, "dora", "dora-facility")
    session.get(f"{whole.url}/hub/logout", timeout=30)
    sign_in_with_account(session, whole.url, "amara", "amara-facility")
    # A password given at the login counts as much as one given on the page; logging out forgets both.
    assert is_confirmed(session.get(page_of(whole), timeout=30))
    for name in [each.name for each in session.cookies if each.name.startswith("daas-proof-")]:
        session.cookies.pop(name)
    assert not is_confirmed(session.get(page_of(whole), timeout=30))
    refused = press(whole, session, "prove", username="amara", password="guessed")
    assert refused.status_code == 409
    assert "Wrong username or password" in refused.text
    assert not is_confirmed(refused)
    assert not is_confirmed(press(whole, session, "prove", username="bruno", password="bruno-facility"))
    assert is_confirmed(press(whole, session, "prove", username="amara", password="amara-facility"))


def test_programs_and_strangers_have_no_such_page(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = sign_in(whole, umbrella, "amara")
    headers = {"Authorization": f"token {own_token(whole, session, 'amara')}"}
    for given in ({}, headers):
        answer = requests.get(page_of(whole), headers=given, timeout=30, allow_redirects=False)
        assert answer.status_code == 302
        assert "/hub/login" in answer.headers["Location"]
    assert (
        requests.post(page_of(whole), headers=headers, data={"action": "unlink"}, timeout=30).status_code
        == 403
    )
    assert press(whole, session, "link", issuer="x" * 20_000, subject="s").status_code == 413
    assert press(whole, session, "dance").status_code == 400


def test_sessions_end_with_the_identity_that_is_taken_away(whole: Stack) -> None:
    identity = {"issuer": "https://elsewhere.example", "subject": "bruno"}
    assert by_staff(whole, "bruno", identity, link=True).status_code == 200
    whole.accept_conditions("bruno")
    headers = {"Authorization": f"token {whole.token('bruno')}"}
    options = {"proposal": "20180301", "environment": "jupyter", "flavour": "small"}
    url, body = f"{whole.api}/users/bruno/servers/brave-curie", {"user_options": options}
    answer = requests.post(url, headers=headers, json=body, timeout=60)
    assert answer.status_code in (201, 202), answer.text

    def model() -> dict[str, Any]:
        found = whole.admin("GET", "/users/bruno/servers/brave-curie")
        return dict(found.json()) if found.status_code == 200 else {}

    wait_until(lambda: bool(model().get("ready")), 120, what="the session runs")
    assert by_staff(whole, "bruno", identity, link=False).status_code == 204
    wait_until(lambda: model().get("stopped", True), 120, what="the session has ended")
