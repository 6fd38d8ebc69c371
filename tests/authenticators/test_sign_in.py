"""Signing in at a real hub: by a provider, by a facility account, and what becomes of it."""

import asyncio
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import requests

from tests.authenticators.portal import PASSWORD, Portal
from tests.support.identity_provider import SECRET
from tests.support.sign_in import sign_in_with_account, sign_in_with_provider
from tests.support.stack import xsrf_of
from tests.support.waiting import wait_until


def page_code(answer: requests.Response) -> str:
    """Return the code of a refusal page, empty if it is none."""
    _, found, rest = answer.text.partition('data-code="')
    return rest.partition('"')[0] if found else ""


def test_a_provider_signs_a_person_in(portal: Portal) -> None:
    session = portal.visit()
    answer = sign_in_with_provider(session, portal.url, "", "", next="/hub/token?from=here")
    assert answer.url == f"{portal.url}/hub/token?from=here"
    assert portal.home(session).status_code == 200
    user = portal.hub_user("amara")
    assert user["groups"] == ["daas-user"]
    assert user["admin"] is False
    assert user["user_info"] == {"name": "The person amara"}  # what others see: no e-mail, no claims
    assert user["auth_state"]["identity"] == {
        "issuer": portal.umbrella.issuer,
        "subject": "amara@umbrella.example",
    }


def test_two_providers_sign_in_side_by_side(portal: Portal) -> None:
    first, second = portal.visit(), portal.visit()
    sign_in_with_provider(first, portal.url, "", "")
    sign_in_with_provider(second, portal.url, "", "", key="institute")
    assert "amara" in portal.home(first).text
    assert "bruno" in portal.home(second).text


def test_a_facility_account_signs_a_person_in(portal: Portal) -> None:
    session = portal.visit()
    answer = sign_in_with_account(session, portal.url, "amara", PASSWORD, next="/hub/token")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/token")
    assert "amara" in portal.home(session).text
    identity = portal.hub_user("amara")["auth_state"]["identity"]
    assert identity == {"issuer": "file:accounts", "subject": "amara"}


def test_a_role_becomes_a_group_and_nobody_becomes_the_hubs_admin(portal: Portal) -> None:
    portal.services.grant("amara", "admin")
    portal.services.grant("amara", "instrument_scientist", "2018-03-01T00:00:00Z")  # has ended
    sign_in_with_provider(portal.visit(), portal.url, "", "")
    user = portal.hub_user("amara")
    assert user["groups"] == ["daas-admin", "daas-user"]
    assert user["admin"] is False


@pytest.mark.parametrize(
    "claims",
    [
        {"preferred_username": "amara", "name": "amara", "username": "amara"},
        {"email": "amara@uni.example", "email_verified": True},
        {"preferred_username": "admin", "groups": ["daas-admin"], "admin": True, "roles": ["admin"]},
        {"eduperson_entitlement": ["urn:geant:umbrella.example:group:daas-admin#umbrella.example"]},
    ],
    ids=["user name", "e-mail", "admin", "entitlement"],
)
def test_a_claim_opens_nothing(portal: Portal, claims: dict[str, Any]) -> None:
    portal.umbrella.subject, portal.umbrella.claims = "stranger@umbrella.example", claims
    session = portal.visit()
    answer = sign_in_with_provider(session, portal.url, "", "")
    assert answer.status_code == 403
    assert page_code(answer) == "account_unknown"
    assert "You are signed in, but" in answer.text
    assert "stranger@umbrella.example" in answer.text  # what the user office needs to link it
    assert portal.home(session).status_code == 302


def test_a_changed_claim_changes_nobody(portal: Portal) -> None:
    portal.umbrella.claims = {"preferred_username": "bruno", "email": "bruno@institute.example"}
    session = portal.visit()
    sign_in_with_provider(session, portal.url, "", "")
    assert "amara" in portal.home(session).text


def test_names_that_differ_in_a_dot_are_two_people(portal: Portal) -> None:
    for name in ("a.mara", "a-mara", "amara."):
        subject = f"{name}@dots.example"
        portal.services.know(name, identity=(portal.umbrella.issuer, subject))
        portal.umbrella.subject = subject
        session = portal.visit()
        sign_in_with_provider(session, portal.url, "", "")
        assert f'<p id="home">{name}</p>' in portal.home(session).text
        assert portal.hub_user(name)["name"] == name


def test_a_name_that_only_looks_like_anothers_is_nobodys(portal: Portal) -> None:
    for name in ("Amara", "amara.", "\uff41mara", "amar\u0430", "amara\u0301"):
        session = portal.visit()
        answer = sign_in_with_account(session, portal.url, name, PASSWORD)
        assert (answer.status_code, "Wrong username or password" in answer.text) == (403, True), ascii(name)
        assert portal.home(session).status_code == 302


def test_a_person_without_proposal_reads_what_to_do(portal: Portal) -> None:
    session = portal.visit()
    answer = sign_in_with_account(session, portal.url, "dora", PASSWORD)
    assert answer.status_code == 403
    assert page_code(answer) == "no_entry"
    assert "You are signed in, but" in answer.text
    assert "principal investigator" in answer.text
    assert portal.home(session).status_code == 302


def test_a_blocked_person_reads_why(portal: Portal) -> None:
    portal.services.blocked["amara"] = "The account was <shared>."
    answer = sign_in_with_provider(portal.visit(), portal.url, "", "")
    assert answer.status_code == 403
    assert page_code(answer) == "account_blocked"
    assert "The account was &lt;shared&gt;." in answer.text


def test_a_right_password_of_nobody_is_refused(portal: Portal) -> None:
    del portal.services.people["zoe"]
    answer = sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD)
    assert page_code(answer) == "account_unknown"


@pytest.mark.parametrize("subject", ["test@eduteams.org", "test@aai.geant.org"])
def test_a_monitoring_identity_stays_out(portal: Portal, subject: str) -> None:
    portal.umbrella.subject = subject
    portal.services.identities[(portal.umbrella.issuer, subject)] = "amara"
    answer = sign_in_with_provider(portal.visit(), portal.url, "", "")
    assert answer.status_code == 403


@pytest.mark.parametrize("service", ["proposals", "accounts"])
@pytest.mark.parametrize("way", ["provider", "account"])
def test_says_which_service_is_away_and_works_when_it_is_back(portal: Portal, service: str, way: str) -> None:
    def sign_in(session: requests.Session) -> requests.Response:
        if way == "provider":
            return sign_in_with_provider(session, portal.url, "", "")
        return sign_in_with_account(session, portal.url, "amara", PASSWORD)

    portal.services.away.add(service)
    session = portal.visit()
    answer = sign_in(session)
    assert answer.status_code == 503
    assert f"The {service} service does not answer" in answer.text
    assert portal.home(session).status_code == 302
    portal.services.away.clear()
    sign_in(session)
    assert portal.home(session).status_code == 200


def test_the_button_of_a_provider_that_is_away_says_so(portal: Portal) -> None:
    def page() -> str:
        return portal.visit().get(f"{portal.url}/hub/login", timeout=30).text

    assert "does not answer" not in page()
    portal.umbrella.stop()
    try:
        wait_until(lambda: "UmbrellaID does not answer" in page(), 30)
        assert "Institute does not answer" not in page()
        answer = portal.visit().get(f"{portal.url}/hub/auth/umbrella/oauth_login", timeout=30)
        assert answer.status_code == 503
        assert "UmbrellaID does not answer" in answer.text
        session = portal.visit()
        sign_in_with_provider(session, portal.url, "", "", key="institute")
        assert portal.home(session).status_code == 200
    finally:
        portal.umbrella.start()
    portal.wait_for_providers()


def test_tokens_and_secrets_stay_out_of_the_log(portal: Portal) -> None:
    session = portal.visit()
    answer = sign_in_with_provider(session, portal.url, "", "")
    sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
    kept = portal.hub_user("amara")
    sign_in_with_provider(session, portal.url, "", "")
    callback = next(each.url for each in answer.history if "/oauth_callback?" in each.url)
    log = portal.stack.log()
    secrets = [SECRET, PASSWORD, parse_qs(urlsplit(callback).query)["code"][0]]
    secrets += [form["code_verifier"] for form in portal.umbrella.forms]
    secrets += [
        each for each in portal.hub_user("amara")["auth_state"]["tokens"] if isinstance(each, str) and each
    ]
    assert kept["auth_state"]["tokens"][0] == ""  # of a facility account
    assert len(secrets) > 6
    assert [each for each in secrets if each in log] == []


def test_wrong_passwords_and_unknown_names_look_alike(portal: Portal) -> None:
    def shown(name: str) -> str:
        answer = sign_in_with_account(portal.visit(), portal.url, name, "wrong")
        assert answer.status_code == 403
        return re.sub(r'name="_xsrf" value="[^"]*"', "", answer.text.replace(name, "NAME"))

    assert "Wrong username or password" in shown("bruno")
    assert shown("bruno") == shown("nobody-is-called-so")


def test_cuts_an_endless_name_before_it_is_shown_or_logged(portal: Portal) -> None:
    name = "endless" * 2000
    answer = sign_in_with_account(portal.visit(), portal.url, name, "wrong")
    assert answer.status_code == 403
    assert "endless" * 20 not in answer.text
    assert "endless" * 20 not in portal.stack.log()


BODIES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no password": {"username": "amara"},
    "no username": {"password": PASSWORD},
    "a provider's answer": {"provider": "umbrella", "sign_in": "amara", "username": "amara"},
    "two names": {"username": ["amara", "bruno"], "password": "wrong"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_refuses_an_incomplete_form(portal: Portal, body: dict[str, Any]) -> None:
    session = portal.visit()
    session.get(f"{portal.url}/hub/login", timeout=30)
    data = {**body, "_xsrf": xsrf_of(session, "/hub/")}
    answer = session.post(f"{portal.url}/hub/login", data=data, timeout=30)
    assert answer.status_code == 403
    assert portal.home(session).status_code == 302


def test_refuses_a_form_without_the_token_of_this_browser(portal: Portal) -> None:
    session = portal.visit()
    data = {"username": "amara", "password": PASSWORD}
    answer = session.post(f"{portal.url}/hub/login", data=data, timeout=30)
    assert answer.status_code == 403
    assert "Try again" in answer.text
    assert portal.home(session).status_code == 302


def test_slows_down_whoever_guesses_a_password(portal: Portal) -> None:
    answers = [
        sign_in_with_account(portal.visit(), portal.url, "zoe", f"guess {number}") for number in range(11)
    ]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 600
    assert "Too many wrong passwords for this account" in answers[-1].text
    # The right one neither: otherwise the eleventh guess could be it.
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 429
    assert sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD).status_code == 302


AUTHS: dict[str, Any] = {
    "wrong password": {"username": "amara", "password": "wrong"},
    "no object": "amara",
    "a forged arrival": {
        "provider": "umbrella",
        "sign_in": {"identity": {"subject": "amara@umbrella.example"}},
    },
    "a list": ["amara", PASSWORD],
    "a name that is an object": {"username": {"amara": 1}, "password": PASSWORD},
    "null": None,
}


@pytest.mark.parametrize("auth", AUTHS.values(), ids=AUTHS)
def test_refuses_a_forged_request_for_a_token(portal: Portal, auth: Any) -> None:
    sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
    answer = requests.post(f"{portal.stack.api}/users/amara/tokens", json={"auth": auth}, timeout=30)
    assert answer.status_code == 403
    assert "Error authenticating request" not in portal.stack.log()


def test_a_password_in_a_request_for_a_token_passes_the_same_gate(portal: Portal) -> None:
    sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
    body = {"auth": {"username": "amara", "password": PASSWORD}}
    url = f"{portal.stack.api}/users/amara/tokens"
    assert requests.post(url, json=body, timeout=30).status_code == 201
    portal.services.blocked["amara"] = "No."
    assert requests.post(url, json=body, timeout=30).status_code == 403


async def test_many_sign_in_at_once_and_none_becomes_another(portal: Portal) -> None:
    async def one(name: str) -> tuple[str, str]:
        jar = aiohttp.CookieJar(unsafe=True)
        headers = {"Sec-Fetch-Mode": "navigate"}
        async with aiohttp.ClientSession(cookie_jar=jar, headers=headers) as session:
            page = await (await session.get(f"{portal.url}/hub/login")).text()
            xsrf = page.partition('name="_xsrf" value="')[2].partition('"')[0]
            data = {"username": name, "password": PASSWORD, "_xsrf": xsrf}
            async with session.post(f"{portal.url}/hub/login", data=data) as answer:
                return name, await answer.text()

    found = await asyncio.gather(*(one(name) for name in ("amara", "bruno") * 20))
    assert [(name, f'<p id="home">{name}</p>' in text) for name, text in found] == [
        (name, True) for name in ("amara", "bruno") * 20
    ]


def test_nothing_of_all_this_left_a_traceback(portal: Portal) -> None:
    sign_in_with_provider(portal.visit(), portal.url, "", "")
    assert "Traceback" not in portal.stack.log()
