"""Somebody who is not let in asks for access: her page, the hook that tells staff, and staff's page.

And how somebody is let in, and out again, by what her provider says in entitlements.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from jupyterhub_daas.authenticators.asking import MAX_BODY, PER_NETWORK
from jupyterhub_daas.core.access_requests import MAX_MESSAGE
from tests.portal.browsing import arrive, portal, post
from tests.support.sign_in import browser, first_form, sign_in_with_account, sign_in_with_provider
from tests.support.stack import Stack, xsrf_of
from tests.support.umbrella import Umbrella
from tests.support.waiting import wait_until

# The directory links nobody at this provider: whoever comes from it is known there, and nobody's here.
EXTRA = """
from pathlib import Path

def tell_staff(request):
    folder = Path(given["folder"])
    if (folder / "no-mail").exists():
        raise RuntimeError("the mail server is away")
    with (folder / "told").open("a") as file:
        file.write(request.model_dump_json() + "\\n")

c.DaasAuthenticator.providers = {providers!r}
c.DaasAuthenticator.access_request_hook = tell_staff
c.DaasAuthenticator.auth_refresh_age = 1
"""
GROUP = "urn:example:aai.example:daas:group:"
ENTITLEMENTS = {
    "namespace": GROUP.removesuffix(":group:"),
    "authorities": ["aai.example"],
    "rules": [
        {"group": "portal:operators", "group_role": "manager", "role": "admin"},
        {"group": "floor", "role": "staff", "hub_group": "floor-staff"},
    ],
}
TEXT = "I measured on 20180301 with Amara.\nPlease <b>let</b> me in."


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Umbrella]:
    """UmbrellaID, not started yet."""
    made = Umbrella(tmp_path_factory.mktemp("umbrella"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def whole(umbrella: Umbrella, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The portal with a hook that writes a file."""
    provider = umbrella.settings(scope=["openid", "profile", "email", "aarc"])
    extra = EXTRA.format(providers=[provider])
    entitlements = {"entitlements": [{"issuer": umbrella.issuer, **ENTITLEMENTS}]}
    made = Stack(tmp_path_factory.mktemp("asking"), extra=extra, settings={"identities": entitlements})
    umbrella.start(made.url)
    try:
        yield made.start()
    finally:
        made.stop()


def page_of(whole: Stack) -> str:
    """Return the address of the page."""
    return f"{whole.url}/hub/access-request"


def come(whole: Stack, umbrella: Umbrella, login: str) -> tuple[requests.Session, requests.Response]:
    """Sign in at the provider with a new browser."""
    session = browser()
    return session, sign_in_with_provider(session, whole.url, login, umbrella.password_of(login))


def ask(
    whole: Stack, session: requests.Session, *, token: str | None = None, **fields: str
) -> requests.Response:
    """Send the form, with what it holds already where nothing else is given."""
    form = first_form(session.get(page_of(whole), timeout=30).text, "name")
    held = form[1] if form else {"_xsrf": xsrf_of(session, "/hub/"), "name": "A", "email": "a@b.example"}
    data = {**held, "message": TEXT, **fields, **({"_xsrf": token} if token is not None else {})}
    return session.post(page_of(whole), data=data, timeout=30)


def state_of(answer: requests.Response) -> str:
    """Return what the page says of the request."""
    return answer.text.partition('id="access-request" data-state="')[2].partition('"')[0]


def requests_of(whole: Stack, subject: str) -> list[dict[str, Any]]:
    """Return what staff finds of an identity, the latest first."""
    found = whole.call("accounts", "GET", "access-requests", params={"limit": "100"}).json()["items"]
    return [each for each in found if each["identity"]["subject"] == subject]


def told(whole: Stack, number: int) -> list[str]:
    """Return in which states the hook was told of a request."""
    path = whole.folder / "told"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [each["state"] for each in lines if each["id"] == number]


def answer_by(whole: Stack, person: str, number: int, verdict: str, **fields: str) -> requests.Response:
    """Answer on staff's page, as this person."""
    session = arrive(whole, person)
    return post(whole, session, "access-requests", verdict=verdict, number=str(number), **fields)


def link(whole: Stack, umbrella: Umbrella, login: str, *, away: bool = False) -> None:
    """Link an identity to the person of this name as staff, or take it away."""
    body = {"issuer": umbrella.issuer, "subject": umbrella.subject_of(login), "reason": "Test."}
    method, path = ("POST", "identities/unlink") if away else ("PUT", "identities")
    whole.call("accounts", method, f"people/{login}/{path}", json=body).raise_for_status()


def groups_of(whole: Stack, person: str) -> list[str]:
    """Return the hub's groups of a person."""
    return sorted(whole.admin("GET", f"/users/{person}").json()["groups"])


def is_in(whole: Stack, session: requests.Session) -> bool:
    """Tell whether the hub still knows who this is."""
    return session.get(f"{whole.url}/hub/home", timeout=30, allow_redirects=False).status_code == 200


def test_an_entitlement_lets_in_and_its_end_ends_the_login(whole: Stack, umbrella: Umbrella) -> None:
    link(whole, umbrella, "dora")
    assert come(whole, umbrella, "dora")[1].status_code == 403
    umbrella.change("dora", eduperson_entitlement=[f"{GROUP}floor#aai.example", "urn:x-other:group:floor"])
    session, answer = come(whole, umbrella, "dora")
    assert answer.status_code == 200, answer.text[:2000]
    assert groups_of(whole, "dora") == ["daas-staff", "daas-user", "floor-staff"]
    (held,) = whole.call("accounts", "GET", "people/dora/roles").json()["items"]
    assert (held["role"], held["source"]) == ("staff", "entitlement")
    umbrella.change("dora", eduperson_entitlement=[f"{GROUP}floor#evil.example"])
    wait_until(lambda: not is_in(whole, session), 60, what="the next refresh")
    assert whole.call("accounts", "GET", "people/dora/roles").json()["items"] == []
    assert come(whole, umbrella, "dora")[1].status_code == 403
    link(whole, umbrella, "dora", away=True)


def test_what_a_provider_says_makes_an_administrator_only_as_configured(
    whole: Stack, umbrella: Umbrella
) -> None:
    lies = ["daas-admin", "admin", f"{GROUP}admin#aai.example", f"{GROUP}portal:operators#aai.example"]
    names = {"preferred_username": "sofia", "name": "sofia", "groups": lies, "roles": lies, "admin": True}
    link(whole, umbrella, "edgar")
    umbrella.change("edgar", eduperson_entitlement=lies, entitlements=lies, **names)
    session, _ = come(whole, umbrella, "edgar")
    assert is_in(whole, session)
    assert groups_of(whole, "edgar") == ["daas-user"]
    umbrella.change("edgar", eduperson_entitlement=f"{GROUP}portal:operators:role=manager#aai.example")

    def groups() -> list[str]:
        assert is_in(whole, session)
        return groups_of(whole, "edgar")

    wait_until(lambda: "daas-admin" in groups(), 60, what="the next refresh")
    assert whole.admin("GET", "/users/edgar").json()["admin"] is False
    umbrella.change("edgar", eduperson_entitlement=[])
    wait_until(lambda: groups() == ["daas-user"], 60, what="the refresh after that")
    link(whole, umbrella, "edgar", away=True)


def test_somebody_unknown_asks_and_is_let_in(whole: Stack, umbrella: Umbrella) -> None:
    subject = umbrella.subject_of("amara")
    session, refused = come(whole, umbrella, "amara")
    assert refused.status_code == 403
    assert 'href="/hub/access-request">Request access' in refused.text
    page = session.get(page_of(whole), timeout=30)
    assert (page.status_code, state_of(page)) == (200, "none")
    assert page.headers["Cache-Control"] == "no-store"
    assert subject in page.text
    assert 'value="Amara Okafor"' in page.text
    for guessed in ("", "guessed"):
        assert ask(whole, session, token=guessed).status_code == 403
    assert requests_of(whole, subject) == []

    page = ask(whole, session)
    assert (page.status_code, state_of(page)) == (200, "pending")
    assert "Please &lt;b&gt;let&lt;/b&gt; me in." in page.text
    (made,) = requests_of(whole, subject)
    assert (made["username"], made["provider"], made["message"]) == (None, "UmbrellaID", TEXT)
    wait_until(lambda: told(whole, made["id"]) == ["pending"], 60, what="staff is told")
    again = ask(whole, session, message="Again.")
    assert (again.status_code, "You have asked already" in again.text) == (409, True)
    assert len(requests_of(whole, subject)) == 1
    # Elsewhere and later, with the same account: the page of the refusal has the state.
    elsewhere, refused = come(whole, umbrella, "amara")
    assert 'id="request-state" data-state="pending"' in refused.text
    assert state_of(elsewhere.get(page_of(whole), timeout=30)) == "pending"

    listed = arrive(whole, "sofia").get(portal(whole, "access-requests"), timeout=30).text
    assert "Please &lt;b&gt;let&lt;/b&gt; me in." in listed
    assert f'data-request="{made["id"]}"' in listed
    unknown = answer_by(whole, "sofia", made["id"], "accept", username="nobody-here", answer="Hello")
    assert unknown.status_code == 404
    assert 'value="nobody-here"' in unknown.text
    done = answer_by(whole, "sofia", made["id"], "accept", username="amara", answer="Welcome.")
    assert (done.status_code, done.headers["Location"][-11:]) == (303, "done=accept")
    wait_until(lambda: told(whole, made["id"]) == ["pending", "accepted"], 60, what="the answer is told")
    page = session.get(page_of(whole), timeout=30)
    assert state_of(page) == "accepted"
    assert "Welcome." in page.text
    assert "You may enter" in page.text
    _, inside = come(whole, umbrella, "amara")
    assert inside.status_code == 200
    assert inside.url.startswith(f"{whole.url}/services/portal/")


def test_the_page_leads_to_where_another_account_is_linked(whole: Stack, umbrella: Umbrella) -> None:
    session, refused = come(whole, umbrella, "chiara")
    assert 'href="/hub/login?next=%2Fhub%2Fidentities">Link my other account' in refused.text
    answer = sign_in_with_account(session, whole.url, "chiara", "chiara-facility", next="/hub/identities")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/identities")
    page = session.get(f"{whole.url}/hub/identities", timeout=30)
    assert f'data-candidate="{umbrella.subject_of("chiara")}"' in page.text


def test_who_is_declined_reads_why_and_may_ask_again(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = come(whole, umbrella, "bruno")
    ask(whole, session)
    (made,) = requests_of(whole, umbrella.subject_of("bruno"))
    empty = answer_by(whole, "sofia", made["id"], "decline", answer="  ")
    assert (empty.status_code, "is not answered" in empty.text) == (400, True)
    declined = answer_by(whole, "sofia", made["id"], "decline", answer="Ask Amara first.")
    assert declined.status_code == 303
    late = answer_by(whole, "sofia", made["id"], "accept", username="bruno")
    assert (late.status_code, "was declined by sofia" in late.text) == (409, True)
    page = session.get(page_of(whole), timeout=30)
    assert (state_of(page), "Ask Amara first." in page.text) == ("declined", True)
    assert state_of(ask(whole, session, message="She knows.")) == "pending"
    assert len(requests_of(whole, umbrella.subject_of("bruno"))) == 2
    events = whole.call("accounts", "GET", "audit", params={"action": "access_request"}).json()["items"]
    about = [each["details"]["change"] for each in events if each["details"]["request"] == str(made["id"])]
    assert about == ["declined", "made"]


def test_a_person_without_a_proposal_gets_a_role(whole: Stack) -> None:
    session = browser()
    refused = sign_in_with_account(session, whole.url, "dora", "dora-facility")
    assert (refused.status_code, "Request access" in refused.text) == (403, True)
    ask(whole, session, name="Dora", email="dora@facility.example")
    (made,) = requests_of(whole, "dora")
    assert made["username"] == "dora"
    # Whoever may link only sees no roles, and can give none.
    grant = {"reason": "Test."}
    whole.call("accounts", "PUT", "people/chiara/roles/support", json=grant).raise_for_status()
    page = arrive(whole, "chiara").get(portal(whole, "access-requests"), timeout=30)
    assert (page.status_code, 'name="role"' in page.text) == (200, False)
    assert answer_by(whole, "chiara", made["id"], "accept", role="staff").status_code == 404
    assert requests_of(whole, "dora")[0]["state"] == "pending"
    wrong = answer_by(whole, "sofia", made["id"], "accept", role="instrument_scientist")
    assert (wrong.status_code, "name at least one" in wrong.text) == (400, True)
    done = answer_by(whole, "sofia", made["id"], "accept", role="staff", until="2099-12-31")
    assert done.status_code == 303
    (role,) = whole.call("accounts", "GET", "people/dora/roles").json()["items"]
    assert (role["role"], role["expires_at"]) == ("staff", "2100-01-01T00:00:00Z")
    assert sign_in_with_account(browser(), whole.url, "dora", "dora-facility").status_code == 302


def test_nobody_answers_her_own(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = come(whole, umbrella, "sofia")
    ask(whole, session)
    (made,) = requests_of(whole, umbrella.subject_of("sofia"))
    own = answer_by(whole, "sofia", made["id"], "accept", username="sofia")
    assert (own.status_code, "yourself" in own.text) == (409, True)
    assert answer_by(whole, "sofia", made["id"], "decline", answer="Mine.").status_code == 303


def test_the_page_is_absent_for_all_but_staff(whole: Stack) -> None:
    for person, status in (("amara", 404), ("sofia", 200)):
        page = arrive(whole, person).get(portal(whole, "access-requests"), timeout=30)
        assert page.status_code == status
        assert ('/services/portal/access-requests"' in page.text) is (status == 200)
    answer = answer_by(whole, "amara", 1, "decline", answer="No.")
    assert answer.status_code == 404


def test_a_hook_that_fails_loses_nothing(whole: Stack, umbrella: Umbrella) -> None:
    (whole.folder / "no-mail").touch()
    session, _ = come(whole, umbrella, "edgar")
    assert state_of(ask(whole, session)) == "pending"
    (made,) = requests_of(whole, umbrella.subject_of("edgar"))
    wait_until(lambda: "access_request_hook failed" in whole.log(), 60, what="the hook was called")
    assert told(whole, made["id"]) == []
    (whole.folder / "no-mail").unlink()
    wait_until(lambda: told(whole, made["id"]) == ["pending"], 120, what="staff is told after all")


def test_only_the_account_service_has_staff_told(whole: Stack) -> None:
    url = f"{whole.url}/hub/daas/access-requests/announce"
    for token in ("", whole.service_token, whole.token("sofia")):
        headers = {"Authorization": f"token {token}"} if token else {}
        assert requests.post(url, json={}, headers=headers, timeout=30).status_code == 403


def test_monitoring_accounts_and_strangers_cannot_ask(whole: Stack, umbrella: Umbrella) -> None:
    before = umbrella.subject_of("zoe")
    umbrella.change("zoe", sub="test@eduteams.org")
    try:
        session, refused = come(whole, umbrella, "zoe")
    finally:
        umbrella.change("zoe", sub=before)
    assert (refused.status_code, "Request access" in refused.text) == (403, False)
    for somebody in (session, browser()):
        page = somebody.get(page_of(whole), timeout=30)
        assert (page.status_code, "Sign in first" in page.text) == (200, True)
        refused = ask(whole, somebody)
        # Nothing that was typed is lost.
        assert (refused.status_code, "Please &lt;b&gt;let" in refused.text) == (409, True)
    assert requests_of(whole, "test@eduteams.org") == []


def test_who_is_blocked_reads_why_and_cannot_ask(whole: Stack, umbrella: Umbrella) -> None:
    identity = {"issuer": umbrella.issuer, "subject": umbrella.subject_of("zoe")}
    session, _ = come(whole, umbrella, "zoe")
    link = {**identity, "reason": "Test."}
    whole.call("accounts", "PUT", "people/hana/identities", json=link).raise_for_status()
    whole.call("accounts", "PUT", "people/hana/block", json={"reason": "Stolen key."}).raise_for_status()
    page = ask(whole, session)
    assert "Stolen key." in page.text
    assert requests_of(whole, identity["subject"]) == []


def test_what_is_too_large_or_not_fit_is_refused_with_the_text_kept(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = come(whole, umbrella, "chiara")
    assert ask(whole, session, message="x" * MAX_BODY).status_code == 413
    long = ask(whole, session, message="y" * (MAX_MESSAGE + 1))
    assert (long.status_code, "at most 2000" in long.text, "yyyy" in long.text) == (409, True, True)
    wrong = ask(whole, session, email="nobody")
    assert (wrong.status_code, 'aria-invalid="true"' in wrong.text) == (409, True)
    assert requests_of(whole, umbrella.subject_of("chiara")) == []


def test_a_network_is_slowed_down(whole: Stack, umbrella: Umbrella) -> None:
    session, _ = come(whole, umbrella, "chiara")
    answers = [ask(whole, session)]
    while answers[-1].status_code != 429 and len(answers) <= PER_NETWORK:
        answers.append(ask(whole, session))
    assert {each.status_code for each in answers[:-1]} <= {200, 409}
    assert (answers[-1].status_code, "came from your network" in answers[-1].text) == (429, True)
    assert len(requests_of(whole, umbrella.subject_of("chiara"))) == 1
