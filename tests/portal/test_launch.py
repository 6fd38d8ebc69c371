"""Starting sessions from the portal, with the real spawner and the real quota service behind it."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from jupyterhub_daas.core.names import is_session_name
from tests.portal.browsing import arrive, portal, post, quota_row
from tests.support.stack import Stack
from tests.support.waiting import wait_until

GIG = 1 << 30


@pytest.fixture
def edgar(stack: Stack) -> Iterator[requests.Session]:
    """A browser of Edgar, whose sessions and overrides are gone afterwards."""
    session = arrive(stack, "edgar")
    yield session
    stack.call("quotas", "DELETE", "overrides/person/edgar")
    for name in sessions(stack):
        stack.admin("DELETE", f"/users/edgar/servers/{name}", json={"remove": True})
    wait_until(lambda: not sessions(stack), what="Edgar's sessions are gone")


def sessions(stack: Stack) -> dict[str, Any]:
    user = stack.admin("GET", "/users/edgar", params={"include_stopped_servers": 1}).json()
    # The hub makes a row of the nameless default session whenever it shows its home page.
    return {name: server for name, server in user["servers"].items() if name}


def limit(stack: Stack, **limits: object) -> None:
    """Give Edgar other limits."""
    body = {"limits": limits, "reason": "test", "expires_at": "2099-01-01T00:00:00Z"}
    stack.call("quotas", "PUT", "overrides/person/edgar", json=body).raise_for_status()


def used(stack: Stack) -> dict[str, Any]:
    answer = stack.call("quotas", "GET", "people/edgar/quota", token=stack.token("edgar"))
    return dict(answer.json()["used"])


def started(stack: Stack, answer: requests.Response) -> str:
    """Return the name of the session that an answer leads to."""
    assert answer.status_code == 303, answer.text
    place, _, name = answer.headers["Location"].rpartition("/")
    assert place == "/hub/spawn-pending/edgar"
    assert is_session_name(name)
    return name


def test_asks_for_the_flavour_and_says_what_each_takes(stack: Stack, edgar: requests.Session) -> None:
    answer = post(stack, edgar, "launch", proposal="20190417", environment="jupyter")
    assert answer.status_code == 200
    for value in ("jupyter/small", "jupyter/medium", "jupyter/large"):
        assert f'value="{value}"' in answer.text
    assert "Available then" in answer.text
    assert sessions(stack) == {}


def test_looking_at_the_form_starts_nothing(stack: Stack, edgar: requests.Session) -> None:
    limit(stack, cpus=1)
    query = "launch?proposal=20190417&environment=jupyter&flavour=small&choice=jupyter/small"
    assert edgar.get(portal(stack, query), timeout=30).status_code == 200
    assert sessions(stack) == {}


def test_a_launch_without_a_proposal_leads_to_the_proposals(stack: Stack, edgar: requests.Session) -> None:
    assert edgar.get(portal(stack, "launch"), timeout=30).url == portal(stack, "proposals")


def test_says_which_flavours_do_not_fit_and_why(stack: Stack, edgar: requests.Session) -> None:
    limit(stack, cpus=2)
    page = post(stack, edgar, "launch", proposal="20190417", environment="jupyter").text
    large = page[page.index('value="jupyter/large"') :]
    assert "disabled" in large[: large.index(">")]
    assert "0 of 2 used, 4 asked" in large
    small = page[page.index('value="jupyter/small"') :]
    assert "disabled" not in small[: small.index(">")]


def test_starts_at_once_if_only_one_flavour_makes_sense(stack: Stack, edgar: requests.Session) -> None:
    limit(stack, cpus=1)
    answer = post(stack, edgar, "launch", proposal="20190417", environment="jupyter")
    name = started(stack, answer)
    options = sessions(stack)[name]["user_options"]
    assert (options["proposal"], options["flavour"]) == ("20190417", "small")


def test_starts_what_was_chosen_and_stopping_releases_it(stack: Stack, edgar: requests.Session) -> None:
    answer = post(stack, edgar, "launch", proposal="20190417", environment="desktop", choice="desktop/medium")
    name = started(stack, answer)
    assert sessions(stack)[name]["user_options"]["environment"] == "desktop"
    assert used(stack) == {"machines": 1, "cpus": 2, "memory": 6 * GIG, "storage": 10 * GIG, "gpus": 0}
    stack.admin("DELETE", f"/users/edgar/servers/{name}")
    wait_until(lambda: used(stack)["machines"] == 0, what="the quota is free again")


def test_a_refusal_of_the_quota_says_what_is_used_and_what_to_do(
    stack: Stack, edgar: requests.Session
) -> None:
    limit(stack, cpus=2)
    answer = post(stack, edgar, "launch", proposal="20190417", environment="jupyter", flavour="large")
    assert answer.status_code == 409
    assert "The session was not started" in answer.text
    assert "0 of 2 used, 4 asked" in answer.text
    assert 'href="/hub/home"' in answer.text
    assert sessions(stack) == {}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"environment": "windows"}, 403, id="unknown environment"),
        pytest.param({"environment": "jupyter", "flavour": "huge"}, 400, id="unknown flavour"),
        pytest.param(
            {"environment": "jupyter", "choice": "desktop/large"}, 400, id="flavour of another profile"
        ),
        pytest.param({"environment": "jupyter", "choice": "jupyter"}, 400, id="no choice"),
        pytest.param({"environment": "jupyter", "choice": "../../x/small"}, 400, id="a path"),
        pytest.param({"environment": "jupyter\n"}, 200, id="space around is nothing"),
        pytest.param({"environment": "x" * 10_000}, 400, id="long"),
        pytest.param({"proposal": "../../etc"}, 400, id="proposal that is none"),
        pytest.param({"proposal": "20180301", "environment": "jupyter"}, 404, id="proposal of others"),
        pytest.param({"proposal": "２０１９０４１７", "environment": "jupyter"}, 400, id="look-alike"),
    ],
)
def test_refuses_what_does_not_fit(
    stack: Stack, edgar: requests.Session, fields: dict[str, str], status: int
) -> None:
    before = stack.log().count("Traceback")
    answer = post(stack, edgar, "launch", **{"proposal": "20190417", **fields})
    assert answer.status_code == status, answer.text
    assert sessions(stack) == {}
    assert stack.log().count("Traceback") == before


def test_shows_the_quota_of_the_golden_example(stack: Stack, edgar: requests.Session) -> None:
    ids = [f"00000000000000e{number}" for number in range(3)]
    body = {
        "person": "edgar",
        "proposal": "20190417",
        "session": "brave-curie",
        "resources": {"machines": 1, "cpus": 1, "memory": 3 * GIG, "storage": 5 * GIG},
        "environment": "jupyter",
        "flavour": "small",
        "backend": "local",
    }
    try:
        for each in ids:
            stack.call("quotas", "PUT", f"reservations/{each}", json=body).raise_for_status()
        page = edgar.get(portal(stack, "quotas"), timeout=30).text
        # Default, used, available, and what one of the default flavour takes.
        assert quota_row(page, "machines") == ["5", "3", "2", "1"]
        assert quota_row(page, "cpus") == ["10", "3", "7", "1"]
        assert quota_row(page, "memory") == ["30 G", "9 G", "21 G", "3 G"]
        assert quota_row(page, "storage") == ["80 G", "15 G", "65 G", "5 G"]
    finally:
        for each in ids:
            stack.call("quotas", "DELETE", f"reservations/{each}")
