"""Sign-ins at the real provider of the demo: PKCE enforced, keys of its own, refresh tokens, logout."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from tests.authenticators.portal import Portal
from tests.support.sign_in import first_form, sign_in_with_provider
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

# The provider allows its clocks 15 seconds before an access token counts as ended.
SOON = 40.0


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """The provider, not started yet."""
    made = Umbrella(tmp_path_factory.mktemp("umbrella"), access_token_seconds=2)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def portal(umbrella: Umbrella, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A hub that knows the provider."""
    made = Portal(
        tmp_path_factory.mktemp("portal"), refresh_age=1, more_providers=[umbrella.settings(key="real")]
    )
    umbrella.start(made.url, key="real")
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _begin(portal: Portal, umbrella: Umbrella) -> None:
    portal.begin()
    portal.services.identities[(umbrella.issuer, umbrella.subject_of("amara"))] = "amara"


def sign_in(portal: Portal, session: requests.Session, umbrella: Umbrella, login: str) -> requests.Response:
    """Sign in at the provider's own form."""
    return sign_in_with_provider(session, portal.url, login, umbrella.password_of(login), key="real")


def links_of(answer: requests.Response) -> list[str]:
    """Return where the links of a page lead."""
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', answer.text)]


def test_signs_in_renews_and_signs_out(portal: Portal, umbrella: Umbrella) -> None:
    session = portal.visit()
    assert sign_in(portal, session, umbrella, "amara").status_code == 200
    assert "amara" in portal.home(session).text
    first = portal.hub_user("amara")["auth_state"]["tokens"][0]

    def renewed() -> bool:
        assert portal.home(session).status_code == 200
        return bool(portal.hub_user("amara")["auth_state"]["tokens"][0] != first)

    wait_until(renewed, SOON)
    out = session.get(f"{portal.url}/hub/logout", timeout=30)
    form = first_form(out.text)  # of the provider: it would send itself in a browser with scripts
    assert form is not None, out.text
    assert out.url.startswith(umbrella.issuer)
    back = session.post(urljoin(out.url, form[0]), data={**form[1], "logout": "yes"}, timeout=30)
    assert back.url == f"{portal.url}/hub/login"
    assert portal.home(session).status_code == 302
    # Signed out at the provider too: it asks for the password again.
    again = session.get(f"{portal.url}/hub/auth/real/oauth_login", timeout=30)
    assert again.url.startswith(umbrella.issuer)


def test_somebody_unlinked_is_told_what_to_do(portal: Portal, umbrella: Umbrella) -> None:
    session = portal.visit()
    answer = sign_in(portal, session, umbrella, "bruno")
    assert answer.status_code == 403
    assert "You are signed in, but" in answer.text
    assert umbrella.subject_of("bruno") in answer.text
    # The provider would sign the same person in at once, so there is a way to another account.
    way_out = next(link for link in links_of(answer) if link.startswith(umbrella.issuer))
    out = session.get(way_out, timeout=30)
    form = first_form(out.text)
    assert form is not None
    back = session.post(urljoin(out.url, form[0]), data={**form[1], "logout": "yes"}, timeout=30)
    assert back.url == f"{portal.url}/hub/login"
    assert sign_in(portal, session, umbrella, "amara").status_code == 200
    assert "amara" in portal.home(session).text


def test_a_changed_user_name_leaves_the_person_who_she_is(portal: Portal, umbrella: Umbrella) -> None:
    umbrella.change("amara", preferred_username="sofia", email="sofia@facility.example", email_verified=True)
    session = portal.visit()
    sign_in(portal, session, umbrella, "amara")
    assert "amara" in portal.home(session).text


def test_an_account_removed_at_the_provider_is_out(portal: Portal, umbrella: Umbrella) -> None:
    session = portal.visit()
    before = umbrella.people.read_text()
    assert sign_in(portal, session, umbrella, "amara").status_code == 200
    umbrella.remove("amara")
    try:
        wait_until(lambda: portal.home(session).status_code == 302, SOON)
    finally:
        umbrella.people.write_text(before)


def test_a_cancelled_sign_in_has_a_page_of_its_own(portal: Portal, umbrella: Umbrella) -> None:
    session = portal.visit()
    page = session.get(f"{portal.url}/hub/auth/real/oauth_login", timeout=30)
    form = first_form(page.text)
    assert form is not None
    answer = session.post(urljoin(page.url, form[0]), data={"cancel": "1"}, timeout=30)
    assert answer.url.startswith(portal.url)
    assert answer.status_code == 403
    assert "UmbrellaID did not sign you in" in answer.text
    assert "Log in again" in answer.text


def test_a_provider_with_new_keys_is_followed(portal: Portal, umbrella: Umbrella, tmp_path: Path) -> None:
    session = portal.visit()
    assert sign_in(portal, session, umbrella, "amara").status_code == 200
    umbrella.stop()
    umbrella.start(portal.url, key="real")  # with a new key: the old ones lived in memory
    portal.wait_for_providers()
    other = portal.visit()
    assert sign_in(portal, other, umbrella, "amara").status_code == 200
    assert "amara" in portal.home(other).text
