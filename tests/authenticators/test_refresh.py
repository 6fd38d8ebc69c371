"""What ends a login, and what must not: at a hub that asks again every second, and before each start."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml

from tests.authenticators.portal import PASSWORD, Portal
from tests.support.sign_in import sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until

TIMEOUT = 30
FEW_SECONDS = 15.0


def signed_in(portal: Portal, way: str = "provider") -> requests.Session:
    """Return a browser in which amara is signed in."""
    session = portal.visit()
    if way == "provider":
        sign_in_with_provider(session, portal.url, "", "")
    else:
        sign_in_with_account(session, portal.url, "amara", PASSWORD)
    assert portal.home(session).status_code == 200
    return session


def wait_for_end(portal: Portal, session: requests.Session) -> None:
    """Wait until the browser is sent to the login page."""
    wait_until(lambda: portal.home(session).status_code != 200, FEW_SECONDS)
    answer = portal.home(session)
    assert answer.status_code == 302
    assert "/hub/login" in answer.headers["Location"]


def wait_for_refreshes(portal: Portal, session: requests.Session, count: int = 2) -> None:
    """Use the portal until the services were asked again so many times; it must go on all the while."""
    before = portal.services.asked["standing"]

    def asked() -> bool:
        assert portal.home(session).status_code == 200
        return portal.services.asked["standing"] >= before + count

    wait_until(asked, FEW_SECONDS)


def unlink(portal: Portal) -> None:
    """Take the link away."""
    portal.services.identities.clear()


def block(portal: Portal) -> None:
    """Block the person."""
    portal.services.blocked["amara"] = "Left the facility."


def leave(portal: Portal) -> None:
    """Take the person off her last proposal."""
    portal.services.proposals["amara"] = 0


def relink(portal: Portal) -> None:
    """Link the identity to somebody else."""
    portal.services.identities[(portal.umbrella.issuer, "amara@umbrella.example")] = "bruno"


ENDS: dict[str, Callable[[Portal], None]] = {
    "unlinked": unlink,
    "blocked": block,
    "no proposal left": leave,
    "linked to somebody else": relink,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_refusal_ends_browser_and_token(watchful: Portal, end: Callable[[Portal], None]) -> None:
    session = signed_in(watchful)
    token = watchful.api_token(session, "amara")
    assert watchful.ask_api(token).status_code == 200
    asked = watchful.umbrella.asked["token"] + watchful.umbrella.asked["userinfo"]
    end(watchful)
    wait_for_end(watchful, session)
    wait_until(lambda: watchful.ask_api(token).status_code == 403, FEW_SECONDS)
    # Our gate comes first: a provider is not asked for somebody whom the facility refuses.
    assert watchful.umbrella.asked["token"] + watchful.umbrella.asked["userinfo"] <= asked + 2
    log = watchful.stack.log()
    assert "Login ended at refresh: person=amara" in log
    assert "AttributeError" not in log
    assert "Traceback" not in log


def test_does_not_ask_the_provider_for_somebody_the_gate_refuses(watchful: Portal) -> None:
    watchful.umbrella.access_token_seconds = 1  # each refresh has to renew it
    session = signed_in(watchful)
    unlink(watchful)
    watchful.umbrella.asked.clear()
    wait_for_end(watchful, session)
    assert watchful.umbrella.asked["token"] == watchful.umbrella.asked["userinfo"] == 0


def test_a_refused_person_reads_why_at_the_next_sign_in(watchful: Portal) -> None:
    session = signed_in(watchful)
    block(watchful)
    wait_for_end(watchful, session)
    answer = sign_in_with_provider(session, watchful.url, "", "")
    assert answer.status_code == 403
    assert "Left the facility." in answer.text


def test_a_grant_that_is_over_sends_browsers_to_the_login_and_leaves_running_sessions(
    watchful: Portal,
) -> None:
    session = signed_in(watchful)
    token = watchful.api_token(session, "amara")
    watchful.umbrella.revoke_everything()
    wait_for_end(watchful, session)
    assert watchful.ask_api(token).status_code == 200
    unlink(watchful)
    wait_until(lambda: watchful.ask_api(token).status_code == 403, FEW_SECONDS)


def test_a_provider_that_names_somebody_else_ends_the_login(watchful: Portal) -> None:
    session = signed_in(watchful)
    token = watchful.api_token(session, "amara")
    watchful.umbrella.subject = "bruno@institute.example"
    wait_for_end(watchful, session)
    assert watchful.ask_api(token).status_code == 403


def test_roles_follow_at_a_refresh(watchful: Portal) -> None:
    session = signed_in(watchful)
    assert watchful.hub_user("amara")["groups"] == ["daas-user"]
    watchful.services.grant("amara", "support")
    wait_for_refreshes(watchful, session)
    assert watchful.hub_user("amara")["groups"] == ["daas-support", "daas-user"]
    watchful.services.roles.clear()
    wait_for_refreshes(watchful, session)
    assert watchful.hub_user("amara")["groups"] == ["daas-user"]


@pytest.mark.parametrize("away", ["proposals", "accounts", "provider", "userinfo"])
def test_an_outage_ends_nothing(watchful: Portal, away: str) -> None:
    session = signed_in(watchful)
    token = watchful.api_token(session, "amara")
    before = watchful.stack.log().count("Refresh not possible: person=amara")
    if away == "provider":
        watchful.umbrella.stop()
    elif away == "userinfo":
        watchful.umbrella.away.add("userinfo")
    else:
        watchful.services.away.add(away)

    def noticed() -> bool:
        assert watchful.home(session).status_code == 200
        assert watchful.ask_api(token).status_code == 200
        return watchful.stack.log().count("Refresh not possible: person=amara") >= before + 2

    try:
        wait_until(noticed, FEW_SECONDS)
    finally:
        if away == "provider":
            watchful.umbrella.start()
            watchful.wait_for_providers()
    watchful.umbrella.away.clear()
    watchful.services.away.clear()
    unlink(watchful)
    wait_for_end(watchful, session)


def test_a_refusal_counts_though_the_provider_is_away(watchful: Portal) -> None:
    session = signed_in(watchful)
    watchful.umbrella.away.add("userinfo")
    block(watchful)
    wait_for_end(watchful, session)


def test_many_pages_at_once_use_a_rotating_token_once(watchful: Portal) -> None:
    watchful.umbrella.access_token_seconds = 1
    session = signed_in(watchful)

    def open_page(_: int) -> int:
        return requests.get(
            f"{watchful.url}/hub/home",
            cookies=session.cookies.copy(),
            headers={"Sec-Fetch-Mode": "navigate"},
            timeout=TIMEOUT,
            allow_redirects=False,
        ).status_code

    with ThreadPoolExecutor(10) as pool:

        def round_of_pages() -> bool:
            assert set(pool.map(open_page, range(20))) == {200}
            return watchful.umbrella.asked["token"] > 3

        watchful.umbrella.asked.clear()
        wait_until(round_of_pages, FEW_SECONDS)


def test_a_facility_account_that_was_removed_is_out(watchful: Portal) -> None:
    session = signed_in(watchful, "account")
    file = watchful.stack.folder / "accounts.yaml"
    before = file.read_text()
    entries = yaml.safe_load(before)
    del entries["amara"]
    try:
        file.write_text(yaml.safe_dump(entries))
        wait_for_end(watchful, session)
    finally:
        file.write_text(before)


def test_a_facility_account_is_refreshed_by_the_same_gate(watchful: Portal) -> None:
    session = signed_in(watchful, "account")
    wait_for_refreshes(watchful, session)
    leave(watchful)
    wait_for_end(watchful, session)


def test_a_token_by_staff_for_somebody_who_never_signed_in_passes_the_gate_too(watchful: Portal) -> None:
    watchful.stack.admin("POST", "/users/zoe")
    answer = watchful.stack.admin("POST", "/users/zoe/tokens", json={"note": "by staff"})
    token = answer.json()["token"]
    assert watchful.ask_api(token).status_code == 200
    assert watchful.hub_user("zoe")["groups"] == ["daas-user"]
    watchful.services.blocked["zoe"] = "No."
    wait_until(lambda: watchful.ask_api(token).status_code == 403, FEW_SECONDS)


def test_a_token_for_somebody_whom_the_facility_does_not_know_opens_nothing(watchful: Portal) -> None:
    watchful.stack.admin("POST", "/users/ghost")
    token = watchful.stack.admin("POST", "/users/ghost/tokens", json={"note": "by staff"}).json()["token"]
    assert watchful.ask_api(token).status_code == 403


def test_a_restart_of_the_hub_signs_nobody_out(watchful: Portal) -> None:
    session = signed_in(watchful)
    watchful.stack.stop_hub()
    watchful.stack.start_hub()
    wait_for_refreshes(watchful, session)
    assert "Unclosed" not in watchful.stack.log()


# --- before a start


def start(portal: Portal, token: str) -> requests.Response:
    """Start a session; the stand-in spawner needs no options."""
    return portal.ask_api(token, "POST", "/users/amara/servers/brave-curie")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_asks_again_before_a_start(portal: Portal, end: Callable[[Portal], None]) -> None:
    token = portal.api_token(signed_in(portal), "amara")
    end(portal)
    assert portal.ask_api(token).status_code == 200  # within the five minutes
    assert start(portal, token).status_code == 403
    assert portal.hub_user("amara")["servers"] == {}


# --- logout


def leave_portal(portal: Portal, session: requests.Session) -> requests.Response:
    """Press logout."""
    return session.get(f"{portal.url}/hub/logout", timeout=TIMEOUT, allow_redirects=False)


def test_logout_ends_the_providers_session_too(portal: Portal) -> None:
    session = signed_in(portal)
    id_token = portal.hub_user("amara")["auth_state"]["tokens"][2]
    answer = leave_portal(portal, session)
    assert answer.status_code == 302
    place = urlsplit(answer.headers["Location"])
    assert f"{place.scheme}://{place.netloc}" == portal.umbrella.issuer
    query = parse_qs(place.query)
    assert query["post_logout_redirect_uri"] == [f"{portal.url}/hub/login"]
    assert query["id_token_hint"] == [id_token]
    assert portal.home(session).status_code == 302
    back = session.get(answer.headers["Location"], timeout=TIMEOUT)
    assert back.url == f"{portal.url}/hub/login"


@pytest.mark.parametrize("case", ["facility account", "provider away", "nobody"])
def test_logout_without_a_providers_session_ends_here(portal: Portal, case: str) -> None:
    session = portal.visit()
    if case != "nobody":
        session = signed_in(portal, "account" if case == "facility account" else "provider")
    if case == "provider away":
        portal.umbrella.away.add("discovery")
    answer = leave_portal(portal, session)
    assert answer.status_code == 302
    if case != "provider away":  # what was found of it before still tells the way out
        assert answer.headers["Location"] == "/hub/login"
    assert portal.home(session).status_code == 302


def test_after_a_logout_tokens_go_on_by_the_gate_and_other_browsers_sign_in_again(watchful: Portal) -> None:
    session, other = signed_in(watchful), signed_in(watchful)
    token = watchful.api_token(session, "amara")
    leave_portal(watchful, session)
    watchful.umbrella.revoke_everything()  # as the end of the provider's session may do
    wait_for_end(watchful, other)
    before = watchful.services.asked["standing"]

    def asked_again() -> bool:
        # A session that runs reports with such a token; the person's work must not look idle.
        assert watchful.ask_api(token).status_code == 200
        return watchful.services.asked["standing"] >= before + 2

    wait_until(asked_again, FEW_SECONDS)
    unlink(watchful)
    wait_until(lambda: watchful.ask_api(token).status_code == 403, FEW_SECONDS)


def test_signing_in_again_after_a_logout_starts_afresh(watchful: Portal) -> None:
    session = signed_in(watchful)
    leave_portal(watchful, session)
    session = signed_in(watchful)
    wait_for_refreshes(watchful, session)
    kept: dict[str, Any] = watchful.hub_user("amara")["auth_state"]
    assert kept["signed_out"] is False
