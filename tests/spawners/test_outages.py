"""A service that is away: starts are refused with the part that is missing, and running sessions go on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jupyterhub_daas.clients.base import DEADLINE_SECONDS
from tests.spawners.portal import PROPOSAL, WANTED, Portal, quiet_log, rows
from tests.support.frozen import frozen
from tests.support.stack import xsrf_of
from tests.support.waiting import wait_until

NAME = "brave-curie"
SERVICES = ("proposals", "accounts", "quotas")


@contextmanager
def silent(portal: Portal, service: str) -> Iterator[None]:
    """Have a service not answer, as behind a cable that is out."""
    with frozen(portal.stack.service_pid(service)):
        yield


@pytest.mark.parametrize("service", SERVICES)
def test_a_start_is_refused_while_a_service_is_silent(portal: Portal, service: str) -> None:
    portal.start("calm-bohr")
    with quiet_log(portal.stack):
        with silent(portal, service):
            refused = portal.stack.log().count("reason=upstream_unavailable")
            # The hub answers that it takes a while, and refuses when the deadline has passed.
            assert portal.start(NAME).status_code in (202, 503)
            wait_until(
                lambda: portal.stack.log().count("reason=upstream_unavailable") > refused, 30, what="refused"
            )
            assert f"The {service} service does not answer" in portal.stack.log()
            assert portal.run("calm-bohr", "echo goes on") == "goes on\n"
        wait_until(lambda: {name for _, name, _ in rows(portal)} == {"calm-bohr"}, 20)
        wait_until(portal.is_settled, 60)
        # It is back: the same start works, and nothing was started again for that.
        answer = portal.start(NAME)
        assert answer.status_code in (201, 202), answer.text
        portal.wait_ready(NAME)


def test_a_start_outlasts_a_pause_of_a_service(portal: Portal) -> None:
    """As long as those may be busy with many starts at once; services give up on each other by then."""
    with silent(portal, "accounts"):
        begun = time.monotonic()
        assert portal.start(NAME).status_code == 202
        wait_until(lambda: time.monotonic() > begun + DEADLINE_SECONDS, 2 * DEADLINE_SECONDS)
    portal.wait_ready(NAME)


def test_the_progress_page_of_a_late_refusal_says_why(portal: Portal) -> None:
    browser = portal.stack.login("amara")
    url = f"{portal.stack.url}/hub/spawn/amara/{NAME}"
    browser.get(url, timeout=30)
    form = {"proposal": PROPOSAL, "environment": "works"}
    with quiet_log(portal.stack), silent(portal, "quotas"):
        answer = browser.post(url, params={"_xsrf": xsrf_of(browser, "/hub/")}, data=form, timeout=30)
        assert "/spawn-pending/" in answer.url
        wait_until(lambda: not rows(portal), 30, what="the start is refused and leaves no row")
        page = browser.get(answer.url, timeout=30)
        assert page.status_code == 503
        assert "The quotas service does not answer" in page.text


def test_a_stop_works_while_quotas_is_silent_and_is_released_later(portal: Portal) -> None:
    portal.start(NAME, WANTED)
    with quiet_log(portal.stack):
        with silent(portal, "quotas"):
            portal.stop(NAME)
            assert not portal.living()
        wait_until(lambda: portal.held("amara") == {}, 30, what="the reservation is released")
