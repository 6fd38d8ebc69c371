"""A provider that takes requests and never answers: whoever asks for it reads so, and nobody else waits."""

from concurrent.futures import ThreadPoolExecutor

import requests

from jupyterhub_daas.authenticators.openid.provider import SIGN_INS_AT_ONCE
from tests.authenticators.portal import PASSWORD, Portal
from tests.authenticators.test_callback import assert_refused, begin, finish
from tests.support.sign_in import sign_in_with_account, sign_in_with_provider
from tests.support.waiting import wait_until

DISCOVERY = "/.well-known/openid-configuration"
SAYS_SO = "UmbrellaID does not answer"


def test_the_hub_serves_others_while_a_sign_in_waits(portal: Portal) -> None:
    session = portal.visit()
    url = begin(portal, session)
    portal.umbrella.hanging.add("/token")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(finish, session, url)
        wait_until(lambda: portal.umbrella.asked["hanging /token"], 30, what="the hub asks the provider")
        served = 0
        while not waiting.done():
            requests.get(portal.stack.api, timeout=30).raise_for_status()
            served += not waiting.done()
    assert served > 0
    assert waiting.result().status_code == 503
    assert SAYS_SO in waiting.result().text
    assert portal.home(session).status_code == 302


def test_its_button_says_so_and_the_other_ways_are_open(portal: Portal) -> None:
    def page() -> str:
        return portal.visit().get(f"{portal.url}/hub/login", timeout=30).text

    portal.umbrella.hanging.add(DISCOVERY)
    try:
        wait_until(lambda: SAYS_SO in page(), 60, what="the button says so")
        assert "Institute does not answer" not in page()
        pressed = portal.visit().get(f"{portal.url}/hub/auth/umbrella/oauth_login", timeout=30)
        assert (pressed.status_code, SAYS_SO in pressed.text) == (503, True)
        session = portal.visit()
        sign_in_with_provider(session, portal.url, "", "", key="institute")
        assert portal.home(session).status_code == 200
        answer = sign_in_with_account(portal.visit(), portal.url, "amara", PASSWORD)
        assert answer.status_code == 302
    finally:
        portal.umbrella.hanging.clear()
    portal.wait_for_providers()


def test_a_code_that_was_not_redeemed_in_time_is_not_tried_again(portal: Portal) -> None:
    """The state is used up: nobody who kept the address of the answer can come back with it."""
    session = portal.visit()
    url = begin(portal, session)
    portal.umbrella.hanging.add("/token")
    assert finish(session, url).status_code == 503
    portal.umbrella.hanging.clear()
    # What the hub gave up waiting for is answered, and counted, only now.
    wait_until(lambda: portal.umbrella.inside == 0, 30, what="the provider has answered all")
    asked = portal.umbrella.asked["token"]
    assert_refused(portal, session, finish(session, url))
    assert portal.umbrella.asked["token"] == asked


def test_whoever_signs_in_at_once_takes_turns_at_a_provider(portal: Portal) -> None:
    """A provider that answers one after the other is not asked by all of a class at the same moment."""
    browsers = [portal.visit() for _ in range(2 * SIGN_INS_AT_ONCE)]
    urls = [begin(portal, each) for each in browsers]
    portal.umbrella.most_inside = 0
    portal.umbrella.hanging.add("/token")
    with ThreadPoolExecutor(len(urls)) as pool:
        waiting = [pool.submit(finish, *each) for each in zip(browsers, urls, strict=True)]
        wait_until(lambda: portal.umbrella.inside >= SIGN_INS_AT_ONCE, 30, what="the hub asks the provider")
        portal.umbrella.hanging.clear()
    assert portal.umbrella.most_inside == SIGN_INS_AT_ONCE
    # Those that hung for long may have been given up on a slow machine; the others then come in.
    found = [each.result().status_code for each in waiting]
    assert set(found) <= {302, 503}
    assert found.count(302) >= SIGN_INS_AT_ONCE
