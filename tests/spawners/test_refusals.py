"""Starts that must not be: each gets a clear answer, and leaves no row, reservation, process or traceback."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.spawners.portal import PROPOSAL, WANTED, Portal, quiet_log, rows
from tests.support.stack import xsrf_of
from tests.support.waiting import wait_until

NAME = "brave-curie"
HUGE = "x" * 10_000
# Options -> (status, reason, a word of the message)
HOSTILE: dict[str, tuple[Any, str, str]] = {
    "no proposal": ({"environment": "works"}, "invalid_option", "'proposal' is missing"),
    "no environment": ({"proposal": PROPOSAL}, "invalid_option", "'environment' is missing"),
    "nothing": ({}, "invalid_option", "'proposal' is missing"),
    "extra keys": ({**WANTED, "cmd": ["/bin/sh"]}, "invalid_option", "'cmd' is not known"),
    "resources": ({**WANTED, "resources": {"memory": float("inf")}}, "invalid_option", "not known"),
    "unknown environment": ({**WANTED, "environment": "windows"}, "unknown_environment", "Choose one of"),
    "unknown flavour": ({**WANTED, "flavour": "gigantic"}, "unknown_flavour", "Choose one of"),
    "flavour not offered": ({**WANTED, "flavour": "large"}, "unknown_flavour", "Choose one of"),
    "unknown backend": ({**WANTED, "backend": "slurm"}, "unknown_profile", "Nothing that is offered"),
    "climbing proposal": ({**WANTED, "proposal": "../20180301"}, "invalid_option", "'proposal'"),
    "newline": ({**WANTED, "proposal": "20180301\n"}, "invalid_option", "'proposal'"),
    "quote": ({**WANTED, "proposal": "20180301'; --"}, "invalid_option", "'proposal'"),
    "look-alike": ({**WANTED, "proposal": "２０180301"}, "invalid_option", "'proposal'"),
    "10 kB": ({**WANTED, "proposal": HUGE}, "invalid_option", "'proposal'"),
    "10 kB key": ({**WANTED, HUGE: 1}, "invalid_option", "not known"),
    "number": ({**WANTED, "flavour": -1}, "invalid_option", "'flavour'"),
    "list": ({**WANTED, "environment": ["works"]}, "invalid_option", "'environment'"),
    "object": ({**WANTED, "environment": {"$ne": ""}}, "invalid_option", "'environment'"),
    "many datasets": ({**WANTED, "datasets": ["d"] * 101}, "invalid_option", "'datasets'"),
    "not mine": ({**WANTED, "proposal": "20190417"}, "not_a_member", "not a member"),
    "not there": ({**WANTED, "proposal": "19990101"}, "not_a_member", "not a member"),
}
FOREIGN_NAMES = {
    "foreign": "mylab",
    "almost ours": "brave-nobody",
    "swapped": "curie-brave",
    "number 1": "brave-curie-1",
    "number 100": "brave-curie-100",
    "upper case": "Brave-Curie",
    "look-alike": "brаve-curie",
    "climbing": "..%2F..%2Fetc",
    "newline": "brave-curie%0A",
    "quote": "brave-curie'",
    "10 kB": HUGE,
}


@pytest.fixture
def person(portal: Portal) -> requests.Session:
    """A browser in which bruno is signed in; he is a member of one proposal only."""
    return portal.stack.login("bruno")


def assert_nothing_left(portal: Portal) -> None:
    """Look everywhere for traces of a refused start."""
    # The hub tidies up when it has answered.
    wait_until(lambda: not rows(portal), 5, what="no row is left")
    assert portal.names("bruno") == set()
    assert portal.held("bruno") == {}
    assert not portal.living()


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=list(HOSTILE))
def test_refuses_hostile_options_through_rest(portal: Portal, hostile: tuple[Any, str, str]) -> None:
    options, reason, words = hostile
    with quiet_log(portal.stack):
        answer = portal.start(NAME, options, person="bruno")
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.reason == reason
        assert words in answer.json()["message"]
        assert HUGE not in answer.text
        assert_nothing_left(portal)


@pytest.mark.parametrize(
    "hostile",
    [each for key, each in HOSTILE.items() if key != "list"],
    ids=[key for key in HOSTILE if key != "list"],
)
def test_refuses_hostile_options_through_the_form(
    portal: Portal, person: requests.Session, hostile: tuple[Any, str, str]
) -> None:
    options = {**hostile[0], "proposal": hostile[0].get("proposal", "")}
    url = f"{portal.stack.url}/hub/spawn/bruno/{NAME}"
    person.get(url, timeout=30)
    assert_nothing_left(portal)
    with quiet_log(portal.stack):
        answer = person.post(url, params={"_xsrf": xsrf_of(person, "/hub/")}, data=options, timeout=30)
        assert 400 <= answer.status_code < 500
        assert "Traceback" not in answer.text
        assert HUGE not in answer.text.replace(f'value="{HUGE}"', "")
        assert_nothing_left(portal)


# A PUT starts nothing: whose proposal it is, and what is missing, is judged when the session starts.
WRONG_IN_ITSELF = {key: each for key, each in HOSTILE.items() if each[0] and each[1] != "not_a_member"}


@pytest.mark.parametrize("hostile", WRONG_IN_ITSELF.values(), ids=list(WRONG_IN_ITSELF))
def test_a_put_of_hostile_options_stores_nothing(portal: Portal, hostile: tuple[Any, str, str]) -> None:
    options, reason, _ = hostile
    path = f"/users/bruno/servers/{NAME}"
    with quiet_log(portal.stack):
        answer = portal.stack.admin("PUT", path, data=json.dumps({"user_options": options}))
        assert (answer.status_code, answer.reason) == (400, reason)
        assert_nothing_left(portal)


@pytest.mark.parametrize("name", FOREIGN_NAMES.values(), ids=list(FOREIGN_NAMES))
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_refuses_names_that_are_not_ours(portal: Portal, method: str, name: str) -> None:
    with quiet_log(portal.stack):
        answer = portal.stack.admin(method, f"/users/bruno/servers/{name}", json={"user_options": WANTED})
        assert 400 <= answer.status_code < 500, answer.text
        assert_nothing_left(portal)


@pytest.mark.parametrize("name", FOREIGN_NAMES.values(), ids=list(FOREIGN_NAMES))
def test_looking_at_a_foreign_name_leaves_no_row(portal: Portal, person: requests.Session, name: str) -> None:
    with quiet_log(portal.stack):
        for query in ({}, {"opt-proposal": PROPOSAL, "opt-environment": "works"}):
            answer = person.get(f"{portal.stack.url}/hub/spawn/bruno/{name}", params=query, timeout=30)
            assert 400 <= answer.status_code < 500
        assert_nothing_left(portal)


def test_looking_at_the_form_leaves_no_row(portal: Portal, person: requests.Session) -> None:
    for number in range(2, 6):
        answer = person.get(f"{portal.stack.url}/hub/spawn/bruno/{NAME}-{number}", timeout=30)
        assert answer.status_code == 200
        assert 'name="environment"' in answer.text
    assert_nothing_left(portal)


def test_the_form_starts_a_session(portal: Portal, person: requests.Session) -> None:
    url = f"{portal.stack.url}/hub/spawn/bruno/{NAME}"
    person.get(url, timeout=30)
    form = {"proposal": PROPOSAL, "environment": "works", "flavour": ""}
    person.post(url, params={"_xsrf": xsrf_of(person, "/hub/")}, data=form, timeout=30)
    portal.wait_ready(NAME, "bruno")


def test_a_link_with_options_starts_a_session(portal: Portal, person: requests.Session) -> None:
    query = {"opt-proposal": PROPOSAL, "opt-environment": "works"}
    person.get(f"{portal.stack.url}/hub/spawn/bruno/{NAME}", params=query, timeout=30)
    portal.wait_ready(NAME, "bruno")


@pytest.mark.parametrize("path", ["/users/bruno/server", "/users/bruno/servers/"])
def test_refuses_the_default_server(portal: Portal, path: str) -> None:
    with quiet_log(portal.stack):
        answer = portal.stack.admin("POST", path, json={"user_options": WANTED})
        assert (answer.status_code, answer.reason) == (400, "name_not_ours")
        assert "proposals page" in answer.json()["message"]
        assert_nothing_left(portal)


def test_refuses_to_rename_a_session(portal: Portal) -> None:
    portal.start(NAME, person="bruno")
    portal.stop(NAME, "bruno")
    answer = portal.stack.admin("PATCH", f"/users/bruno/servers/{NAME}", json={"name": "calm-bohr"})
    assert answer.status_code == 409
    assert portal.names("bruno") == {NAME}


@pytest.mark.parametrize("way", ["PUT", "PATCH"])
def test_options_that_were_stored_are_parsed_at_the_start(portal: Portal, way: str) -> None:
    path = f"/users/bruno/servers/{NAME}"
    if way == "PUT":
        answer = portal.stack.admin("PUT", path, json={"user_options": {**WANTED, "proposal": "20190417"}})
        assert answer.status_code == 201
    else:
        portal.start(NAME, person="bruno")
        portal.stop(NAME, "bruno")
        answer = portal.stack.admin("PATCH", path, json={"user_options": {"proposal": "20190417", "a": 1}})
        assert answer.status_code == 200
    with quiet_log(portal.stack):
        refused = portal.stack.admin("POST", path)
        assert 400 <= refused.status_code < 500
    assert portal.held("bruno") == {}
    if way == "PUT":
        assert_nothing_left(portal)
    else:
        # What somebody patched in is gone: the next start is the last good one again.
        assert portal.stack.admin("POST", path).status_code == 201
        assert portal.model(NAME, "bruno")["user_options"]["environment"] == "works"


def test_the_stored_options_become_the_canonical_ones(portal: Portal) -> None:
    portal.start(NAME, person="bruno")
    assert portal.model(NAME, "bruno")["user_options"] == {
        "proposal": PROPOSAL,
        "environment": "works",
        "backend": "local",
        "profile": "works",
        "flavour": "small",
        "datasets": [],
    }


def test_a_patch_of_a_running_session_changes_nothing(portal: Portal) -> None:
    portal.start(NAME, person="bruno")
    before = portal.model(NAME, "bruno")
    answer = portal.stack.admin(
        "PATCH", f"/users/bruno/servers/{NAME}", json={"user_options": {**WANTED, "flavour": "medium"}}
    )
    assert answer.status_code == 400
    assert portal.model(NAME, "bruno")["user_options"] == before["user_options"]
    assert portal.run(NAME, "echo $DAAS_FLAVOUR", "bruno") == "small\n"


def test_refuses_who_has_not_accepted_the_conditions(portal: Portal) -> None:
    portal.stack.login("sofia")
    with quiet_log(portal.stack):
        answer = portal.start(NAME, person="sofia")
        assert (answer.status_code, answer.reason) == (403, "conditions_not_accepted")
    assert portal.names("sofia") == set()


def test_refuses_who_is_blocked(portal: Portal) -> None:
    path = "people/edgar/block"
    portal.stack.call("accounts", "PUT", path, json={"reason": "Lost badge."}).raise_for_status()
    try:
        with quiet_log(portal.stack):
            answer = portal.start(NAME, {"proposal": "20190417", "environment": "works"}, person="edgar")
            assert answer.status_code == 403
    finally:
        portal.stack.call("accounts", "DELETE", path).raise_for_status()
    wait_until(lambda: portal.names("edgar") == set(), 5)


def test_a_session_gets_no_secret_of_the_hub(portal: Portal) -> None:
    portal.start(NAME, person="bruno")
    environment = dict(
        line.split("=", 1) for line in portal.run(NAME, "env", "bruno").splitlines() if "=" in line
    )
    assert environment["DAAS_PROPOSAL"] == PROPOSAL
    assert environment["HOME"] == str(portal.stack.folder / "state" / "homes" / "bruno")
    allowed = ("JUPYTERHUB_", "JPY_", "DAAS_", "MEM_", "CPU_")
    plain = {
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "PWD",
        "_",
        "SHLVL",
        "OLDPWD",
    }
    assert {name for name in environment if not name.startswith(allowed)} <= plain
    text = portal.run(NAME, "env; cat /proc/$PPID/environ | tr '\\0' '\\n'", "bruno")
    assert portal.stack.proxy_token not in text
    assert portal.stack.service_token not in text


def parallel(count: int, call: Callable[[int], requests.Response]) -> list[requests.Response]:
    """Send requests at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_two_starts_of_one_session_make_one(portal: Portal) -> None:
    with quiet_log(portal.stack):
        answers = parallel(4, lambda _: portal.start(NAME, {**WANTED, "environment": "slow"}, "bruno"))
    # Some began or joined the start, the others are told that it is there already; nobody meets a fault.
    assert {answer.status_code for answer in answers} <= {201, 202, 400, 409}
    portal.wait_ready(NAME, "bruno")
    assert len(portal.living()) == 1
    assert list(portal.held("bruno").values()) == ["active"]
