"""What comes back from a provider: accepted once, in the browser that began, on the path of who was asked."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from aiohttp import web
from tornado.web import create_signed_value

from jupyterhub_daas.authenticators.handlers import MOST_SIGN_INS
from jupyterhub_daas.authenticators.openid.state import COOKIE_PREFIX, SignInState, cookie_name
from tests.authenticators.portal import PASSWORD, Portal
from tests.support.identity_provider import IdentityProvider, unsigned
from tests.support.sign_in import sign_in_with_account, sign_in_with_provider

TIMEOUT = 30


def begin(portal: Portal, session: requests.Session, *, key: str = "umbrella", **query: str) -> str:
    """Press a provider's button; return the address that the provider then sends the browser to."""
    url = f"{portal.url}/hub/auth/{key}/oauth_login"
    left = session.get(url, params=query, timeout=TIMEOUT, allow_redirects=False)
    assert left.status_code == 302, left.text
    back = session.get(left.headers["Location"], timeout=TIMEOUT, allow_redirects=False)
    return back.headers["Location"]


def finish(session: requests.Session, url: str) -> requests.Response:
    """Come back to the portal."""
    return session.get(url, timeout=TIMEOUT, allow_redirects=False)


def changed(url: str, **changes: str | None) -> str:
    """Return the address with other parameters; None takes one out."""
    query = {**dict(parse_qsl(urlsplit(url).query)), **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return f"{url.partition('?')[0]}?{urlencode(kept)}"


def assert_refused(portal: Portal, session: requests.Session, answer: requests.Response) -> None:
    """Check that nobody was signed in, and that a page says so and offers to try again."""
    assert answer.status_code == 403
    assert "You are not signed in" in answer.text
    assert "Log in again" in answer.text
    assert portal.home(session).status_code == 302


def test_the_answer_signs_in(portal: Portal) -> None:
    session = portal.visit()
    answer = finish(session, begin(portal, session))
    assert answer.status_code == 302
    assert "code=" not in answer.headers["Location"]
    assert portal.home(session).status_code == 200


def test_refuses_an_answer_in_another_browser(portal: Portal) -> None:
    url = begin(portal, portal.visit())
    victim = portal.visit()
    assert_refused(portal, victim, finish(victim, url))
    assert all(form.get("code", "none") not in url for form in portal.umbrella.forms)


def test_refuses_an_answer_that_was_used(portal: Portal) -> None:
    session = portal.visit()
    url = begin(portal, session)
    cookies = session.cookies.copy()
    assert finish(session, url).status_code == 302
    asked = portal.umbrella.asked["token"]
    again = portal.visit()
    again.cookies.update(cookies)  # the sign-in's cookie, kept by an attacker
    assert_refused(portal, again, finish(again, url))
    assert portal.umbrella.asked["token"] == asked


def test_refuses_a_state_that_nobody_began(portal: Portal) -> None:
    session = portal.visit()
    url = begin(portal, session)
    assert_refused(portal, session, finish(session, changed(url, state="made-up")))


def test_refuses_a_code_under_the_state_of_another_sign_in(portal: Portal) -> None:
    attacker, victim = portal.visit(), portal.visit()
    stolen = dict(parse_qsl(urlsplit(begin(portal, victim)).query))["code"]
    url = begin(portal, attacker)
    assert_refused(portal, attacker, finish(attacker, changed(url, code=stolen)))


def test_refuses_the_answer_of_one_provider_at_the_path_of_another(portal: Portal) -> None:
    session = portal.visit()
    url = begin(portal, session)
    elsewhere = url.replace("/auth/umbrella/", "/auth/institute/")
    assert_refused(portal, session, finish(session, elsewhere))


def test_refuses_a_mixed_up_provider(portal: Portal) -> None:
    portal.umbrella.response_changes = {"iss": portal.institute.issuer}
    session = portal.visit()
    asked = portal.umbrella.asked["token"]
    assert_refused(portal, session, finish(session, begin(portal, session)))
    assert portal.umbrella.asked["token"] == asked  # the code was not given away


def test_refuses_an_answer_without_the_issuer_that_was_announced(portal: Portal) -> None:
    portal.umbrella.response_changes = {"iss": None}
    session = portal.visit()
    assert_refused(portal, session, finish(session, begin(portal, session)))


def signed(portal: Portal, name: str, value: str, age: float) -> str:
    """Sign a cookie as the hub does, some seconds ago."""
    secret = bytes.fromhex((portal.stack.folder / "cookie-secret").read_text().strip())
    return create_signed_value(secret, name, value, clock=lambda: time.time() - age).decode()


@pytest.mark.parametrize(("age", "status"), [(30, 302), (601, 403)], ids=["fresh", "too old"])
def test_refuses_a_sign_in_that_took_too_long(portal: Portal, age: float, status: int) -> None:
    session = portal.visit()
    url = begin(portal, session)
    held = next(each for each in session.cookies if each.name.startswith(COOKIE_PREFIX))
    state_id = dict(parse_qsl(urlsplit(url).query))["state"]
    content = create_content(portal, session, state_id)
    held.value = signed(portal, held.name, content, age)
    assert finish(session, url).status_code == status


def create_content(portal: Portal, session: requests.Session, state_id: str) -> str:
    """Return what the cookie of this sign-in says."""
    import base64

    held = next(each for each in session.cookies if each.name == cookie_name(state_id))
    assert held.value is not None
    return base64.b64decode(held.value.strip('"').split("|")[4].partition(":")[2]).decode()


def test_refuses_a_cookie_that_somebody_made(portal: Portal) -> None:
    session = portal.visit()
    url = begin(portal, session)
    held = next(each for each in session.cookies if each.name.startswith(COOKIE_PREFIX))
    state_id = dict(parse_qsl(urlsplit(url).query))["state"]
    held.value = create_signed_value(
        "another secret", held.name, SignInState(state_id, "v", "/").to_cookie()
    ).decode()
    assert_refused(portal, session, finish(session, url))


PROVIDER_SAYS: dict[str, dict[str, str | None]] = {
    "access_denied": {"code": None, "error": "access_denied", "error_description": "bad <b>credentials</b>"},
    "server_error": {"code": None, "error": "server_error"},
    "error and code": {"error": "access_denied"},
    "unheard of": {"code": None, "error": "<script>alert(1)</script>"},
    "no code": {"code": None},
    "endless code": {"code": "c" * 5000},
}


@pytest.mark.parametrize("changes", PROVIDER_SAYS.values(), ids=PROVIDER_SAYS)
def test_shows_a_page_of_its_own_when_a_provider_refuses(
    portal: Portal, changes: dict[str, str | None]
) -> None:
    session = portal.visit()
    answer = finish(session, changed(begin(portal, session), **changes))
    assert_refused(portal, session, answer)
    assert "credentials" not in answer.text
    assert "alert(1)" not in answer.text


def test_refuses_a_parameter_that_is_there_twice(portal: Portal) -> None:
    session = portal.visit()
    assert_refused(portal, session, finish(session, begin(portal, session) + "&code=another"))


def test_an_unasked_for_answer_is_refused(portal: Portal) -> None:
    session = portal.visit()
    for query in ("", "?code=x", "?state=x", "?code=x&state=x", "?error=access_denied&state=x"):
        answer = finish(session, f"{portal.url}/hub/auth/umbrella/oauth_callback{query}")
        assert_refused(portal, session, answer)


def test_two_tabs_do_not_disturb_each_other(portal: Portal) -> None:
    session = portal.visit()
    first, second = begin(portal, session, next="/hub/token"), begin(portal, session, next="/hub/home")
    assert finish(session, first).headers["Location"] == "/hub/token"
    assert finish(session, second).headers["Location"] == "/hub/home"


def test_given_up_sign_ins_do_not_pile_up(portal: Portal) -> None:
    session = portal.visit()
    for _ in range(3 * MOST_SIGN_INS):
        url = begin(portal, session)
    assert sum(each.name.startswith(COOKIE_PREFIX) for each in session.cookies) == MOST_SIGN_INS
    assert finish(session, url).status_code == 302


def test_the_cookie_of_a_sign_in_is_for_this_provider_only_and_no_script(portal: Portal) -> None:
    session = portal.visit()
    begin(portal, session)
    held = next(each for each in session.cookies if each.name.startswith(COOKIE_PREFIX))
    assert held.path == "/hub/auth/umbrella/"
    assert held.has_nonstandard_attr("HttpOnly")
    assert held.get_nonstandard_attr("SameSite") == "Lax"
    assert held.expires is not None
    assert held.expires - time.time() <= 601


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "////evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "/\t/evil.example/",
    "/\n/evil.example/",
    "\t//evil.example/",
    " //evil.example/",
    "http:evil.example",
    "https:/\\evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "//evil.example\\@127.0.0.1/",
    "evil.example",
    "/" + "n" * 9000,
]


@pytest.mark.parametrize("wanted", ELSEWHERE, ids=[repr(each[:24]) for each in ELSEWHERE])
@pytest.mark.parametrize("way", ["provider", "account"])
def test_leads_nowhere_else(portal: Portal, wanted: str, way: str) -> None:
    session = portal.visit()
    if way == "provider":
        answer = finish(session, begin(portal, session, next=wanted))
    else:
        answer = sign_in_with_account(session, portal.url, "amara", PASSWORD, next=wanted)
    assert answer.status_code == 302
    place = answer.headers["Location"]
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))
    assert not any(character in place for character in "\\\t\n ")
    # What a browser makes of it: the same host.
    assert urlsplit(requests.compat.urljoin(portal.url, place)).netloc == urlsplit(portal.url).netloc
    if way == "provider":
        assert len(place) < 5000


def test_a_provider_is_asked_for_no_more_than_configured(portal: Portal) -> None:
    left = portal.visit().get(
        f"{portal.url}/hub/auth/umbrella/oauth_login", timeout=TIMEOUT, allow_redirects=False
    )
    query = dict(parse_qsl(urlsplit(left.headers["Location"]).query))
    assert query["scope"] == "openid profile email"
    assert query["response_type"] == "code"
    assert query["redirect_uri"] == f"{portal.url}/hub/auth/umbrella/oauth_callback"
    assert left.headers["Cache-Control"] == "no-store"


LIES: dict[str, tuple[int, Callable[[IdentityProvider], None]]] = {
    "ID token without signature": (403, lambda it: setattr(it, "sign", unsigned)),
    "ID token of another sign-in": (
        403,
        lambda it: setattr(it, "change_claims", lambda claims: {**claims, "nonce": "another"}),
    ),
    "userinfo about somebody else": (
        403,
        lambda it: setattr(it, "userinfo", lambda _: web.json_response({"sub": "bruno@institute.example"})),
    ),
    "userinfo of 1 MB": (
        503,
        lambda it: setattr(it, "userinfo", lambda sub: web.json_response({"sub": sub, "x": "x" * 1_000_000})),
    ),
    "token endpoint away": (503, lambda it: it.away.add("token")),
    "userinfo away": (503, lambda it: it.away.add("userinfo")),
}


@pytest.mark.parametrize(("status", "lie"), LIES.values(), ids=LIES)
def test_a_lying_or_broken_provider_signs_nobody_in(
    portal: Portal, status: int, lie: Callable[[IdentityProvider], Any]
) -> None:
    lie(portal.umbrella)
    session = portal.visit()
    answer = sign_in_with_provider(session, portal.url, "", "")
    assert answer.status_code == status
    assert "Log in again" in answer.text
    assert portal.home(session).status_code == 302
    assert "Traceback" not in portal.stack.log()
