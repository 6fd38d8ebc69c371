"""Staff's release of what wrong passwords locked out: by page and over HTTP, told to the trail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from jupyterhub_daas.authenticators.attempts import AttemptLimit, Attempts
from jupyterhub_daas.authenticators.lock_outs import lock_outs
from tests.authenticators.portal import PASSWORD, Portal
from tests.support.sign_in import first_form, sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until

PATH = "/hub/daas/lock-outs"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A hub that locks out after two wrong passwords for an account, and twenty-four from an address."""
    more = "c.DaasAuthenticator.failures_per_account = 2\nc.DaasAuthenticator.failures_per_address = 24\n"
    made = Portal(tmp_path_factory.mktemp("strict"), more=more)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def portal(strict: Portal) -> Iterator[Portal]:
    """The hub, with nobody locked out before and after."""
    strict.begin()
    yield strict
    items, before = ask(strict, "GET").json()["items"], len(told(strict))
    for item in items:
        ask(strict, "DELETE", **{item["kind"]: item["key"]})
    assert ask(strict, "GET").json()["items"] == []
    # The trail is told a moment later, and the next test reads it.
    wait_until(lambda: len(told(strict)) >= before + len(items), 10)


def ask(
    portal: Portal, method: str, *, token: str | None = None, path: str = PATH, **query: str
) -> requests.Response:
    """Ask with the tests' own token, or another one."""
    headers = {"Authorization": f"token {token or portal.stack.service_token}"}
    return requests.request(method, portal.url + path, params=query, headers=headers, timeout=30)


def lock_out(portal: Portal, username: str) -> str:
    """Type wrong passwords until the account has to wait; return the page that says so."""
    answers = [sign_in_with_account(portal.visit(), portal.url, username, f"wrong {n}") for n in range(3)]
    assert [answer.status_code for answer in answers] == [403, 403, 429]
    return answers[-1].text


def told(portal: Portal) -> list[dict[str, Any]]:
    """Return the releases that the trail was told of."""
    return [each for each in portal.services.events if each["action"] == "release"]


def test_the_page_says_how_long_and_what_to_do(portal: Portal) -> None:
    text = lock_out(portal, "zoe")
    assert "Too many wrong passwords for this account" in text
    assert "try again in 15 minutes" in text
    assert "support to lift this" in text


def test_a_release_lets_the_right_password_in_at_once(portal: Portal) -> None:
    lock_out(portal, "zoe")
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 429
    (item,) = ask(portal, "GET").json()["items"]
    assert (item["kind"], item["key"]) == ("account", "zoe")
    assert 800 < item["seconds"] <= 900
    assert ask(portal, "DELETE", account="zoe").status_code == 204
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 302
    wait_until(lambda: told(portal), 10)
    (event,) = told(portal)
    assert event["actor"] == {"kind": "service", "name": "tests"}
    assert event["object"] == {"kind": "person", "key": "zoe"}


def test_a_network_is_released_too(portal: Portal) -> None:
    def guess(number: int) -> int:
        session = portal.visit()
        # What a client says of itself makes no other network of it.
        session.headers["X-Real-Ip"] = f"192.0.2.{number}"
        return sign_in_with_account(session, portal.url, f"guess{number}", "wrong").status_code

    with ThreadPoolExecutor(4) as pool:
        assert 429 in pool.map(guess, range(25))
    refused = sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD)
    assert refused.status_code == 429
    assert "from your network" in refused.text
    (item,) = ask(portal, "GET").json()["items"]
    assert (item["kind"], item["key"]) == ("network", "127.0.0.1")
    assert ask(portal, "DELETE", network="127.0.0.1").status_code == 204
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 302
    wait_until(lambda: told(portal), 10)
    assert told(portal)[0]["details"] == {"network": "127.0.0.1"}


def test_who_is_not_locked_out_cannot_be_released(portal: Portal) -> None:
    lock_out(portal, "zoe")
    assert ask(portal, "DELETE", account="amara").status_code == 404
    assert ask(portal, "DELETE", network="zoe").status_code == 404
    assert ask(portal, "DELETE").status_code == 400
    assert ask(portal, "DELETE", account="zoe", network="127.0.0.1").status_code == 400
    assert [item["key"] for item in ask(portal, "GET").json()["items"]] == ["zoe"]


def test_nobody_else_may_look_or_release(portal: Portal) -> None:
    lock_out(portal, "zoe")
    session = portal.visit()
    sign_in_with_provider(session, portal.url, "", "")
    own = portal.api_token(session, "amara")
    for token in (own, portal.stack.plain_token, "of nobody"):
        assert ask(portal, "GET", token=token).status_code == 403
        assert ask(portal, "DELETE", token=token, account="zoe").status_code == 403
    page = portal.url + "/hub/lock-outs"
    assert session.get(page, timeout=30).status_code == 403
    data = {"kind": "account", "key": "zoe", "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    assert session.post(page, data=data, timeout=30).status_code == 403
    assert portal.visit().get(page, timeout=30, allow_redirects=False).status_code == 302
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 429
    assert told(portal) == []


@pytest.mark.parametrize("role", ["support", "admin"])
def test_staff_releases_on_a_page(portal: Portal, role: str) -> None:
    portal.services.grant("amara", role)
    session = portal.visit()
    sign_in_with_provider(session, portal.url, "", "")
    page = portal.url + "/hub/lock-outs"
    assert "Nobody has to wait" in session.get(page, timeout=30).text
    lock_out(portal, "zoe")
    shown = session.get(page, timeout=30)
    assert "15 minutes" in shown.text
    form = first_form(shown.text, "key")
    assert form is not None
    assert form[1]["key"] == "zoe"
    forged = session.post(page, data={**form[1], "_xsrf": "forged"}, timeout=30)
    assert forged.status_code == 403
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 429
    done = session.post(page, data=form[1], timeout=30)
    assert "Released" in done.text
    assert "Nobody has to wait" in done.text
    assert sign_in_with_account(portal.visit(), portal.url, "zoe", PASSWORD).status_code == 302
    wait_until(lambda: told(portal), 10)
    assert told(portal)[0]["actor"] == {"kind": "person", "name": "amara"}
    assert "does not have to wait any more" in session.post(page, data=form[1], timeout=30).text


def test_what_was_typed_for_a_name_is_shown_to_staff_as_text_and_not_told(portal: Portal) -> None:
    lock_out(portal, "<b>My pass phrase</b>")
    portal.services.grant("amara", "support")
    session = portal.visit()
    sign_in_with_provider(session, portal.url, "", "")
    shown = session.get(portal.url + "/hub/lock-outs", timeout=30)
    assert "&lt;b&gt;my pass phrase" in shown.text
    form = first_form(shown.text, "key")
    assert form is not None
    session.post(portal.url + "/hub/lock-outs", data=form[1], timeout=30)
    wait_until(lambda: told(portal), 10)
    assert "phrase" not in str(told(portal))
    assert "phrase" not in portal.stack.log()


def test_the_longest_wait_comes_first() -> None:
    now = [0.0]
    limits = [AttemptLimit(1, 60, clock=lambda: now[0]) for _ in range(2)]
    attempts = Attempts(*limits)
    attempts.fail("amara", "192.0.2.1")
    now[0] = 20.5
    attempts.per_account.fail("bruno")
    assert [tuple(each) for each in lock_outs(attempts)] == [
        ("account", "bruno", 60),
        ("account", "amara", 40),
        ("network", "192.0.2.1", 40),
    ]
    assert lock_outs(attempts)[1].minutes == 1
    now[0] = 70.0
    assert [each.key for each in lock_outs(attempts)] == ["bruno"]
