"""A part of the service that does not answer: its page says so, others go on, and it comes back by itself."""

import pytest
import requests

from tests.portal.browsing import arrive, away, portal, post
from tests.support.stack import Stack
from tests.support.waiting import wait_until


@pytest.fixture
def amara(stack: Stack) -> requests.Session:
    """A browser of Amara, who accepted the conditions."""
    return arrive(stack, "amara")


@pytest.mark.parametrize(
    ("service", "needs", "goes_on"),
    [
        ("proposals", "proposals", "help"),
        ("accounts", "proposals", "help"),
        ("quotas", "quotas", "proposals"),
    ],
)
def test_says_which_part_is_away(
    stack: Stack, amara: requests.Session, service: str, needs: str, goes_on: str
) -> None:
    with away(stack, service):
        # What accounts said some seconds ago still counts for the list of proposals.
        wait_until(lambda: not amara.get(portal(stack, needs), timeout=30).ok, what="the page says so")
        page = amara.get(portal(stack, needs), timeout=30)
        assert page.status_code == 503
        assert "A part of the service is away" in page.text
        assert f"The {service} service does not answer" in page.text
        assert "Try again" in page.text
        assert amara.get(portal(stack, goes_on), timeout=30).status_code == 200
        assert amara.get(stack.url + "/hub/home", timeout=30).status_code == 200
    wait_until(
        lambda: amara.get(portal(stack, needs), timeout=30).status_code == 200,
        what=f"{service} is back, and the pages with it",
    )


def test_starts_nothing_while_a_part_is_away(stack: Stack, amara: requests.Session) -> None:
    with away(stack, "quotas"):
        answer = post(stack, amara, "launch", proposal="20180301", environment="jupyter", flavour="small")
    assert answer.status_code == 503
    user = stack.admin("GET", "/users/amara", params={"include_stopped_servers": 1}).json()
    assert [name for name in user["servers"] if name] == []
