"""POST /hub/daas/reconcile: what no session owns is removed, and nothing else is touched."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator

import pytest
import requests

from jupyterhub_daas.spawners.backends.local import launcher, processes
from tests.spawners.portal import WANTED, Portal, is_alive
from tests.support.frozen import freeze
from tests.support.stack import unprivileged
from tests.support.waiting import wait_until

NAME = "brave-curie"


class Orphan:
    """A process that carries the tag of a session nobody knows, as a crash may leave it."""

    def __init__(self, hub_id: str) -> None:
        self.session_id = secrets.token_hex(8)
        prefix, _ = unprivileged()
        self.process = subprocess.Popen(
            [*prefix, "sleep", "600"],
            env={
                "PATH": "/usr/bin:/bin",
                launcher.SESSION: self.session_id,
                processes.HUB: hub_id,
            },
            start_new_session=True,
        )
        wait_until(lambda: self.session_id in processes.find_sessions(hub_id), 10)

    def close(self) -> None:
        """Kill it, whatever the test has shown."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def orphan(portal: Portal) -> Iterator[Orphan]:
    """A process of this hub without a session."""
    found = Orphan(portal.hub_id)
    yield found
    found.close()


@pytest.mark.parametrize("token", ["none", "wrong", "person", "staff", "service"])
def test_refuses_who_may_not_reconcile(portal: Portal, orphan: Orphan, token: str) -> None:
    stack = portal.stack
    tokens = {
        "none": "",
        "wrong": secrets.token_hex(16),
        "person": stack.token("amara"),
        "staff": stack.token("sofia"),
        "service": stack.plain_token,
    }
    headers = {"Authorization": f"token {tokens[token]}"} if tokens[token] else {}
    answer = requests.post(f"{stack.url}/hub/daas/reconcile", headers=headers, timeout=30)
    assert answer.status_code == 403
    assert orphan.session_id not in answer.text


def test_refuses_a_cookie_and_another_method(portal: Portal) -> None:
    url = f"{portal.stack.url}/hub/daas/reconcile"
    browser = portal.stack.login("amara")
    assert browser.post(url, timeout=30).status_code == 403
    headers = {"Authorization": f"token {portal.stack.service_token}"}
    assert requests.get(url, headers=headers, timeout=30).status_code == 405


def test_removes_what_no_session_owns(portal: Portal, orphan: Orphan) -> None:
    portal.start(NAME)
    family = portal.family(portal.session_id(NAME))
    stranger = Orphan("another-hub")
    try:
        # The lifecycle service asks for the same all the time, and may be first.
        portal.reconcile()
        wait_until(lambda: orphan.process.poll() == -signal.SIGKILL, 10)
        assert stranger.process.poll() is None
    finally:
        stranger.close()
    assert portal.family(portal.session_id(NAME)) == family


def test_tells_of_each_session_in_its_state(portal: Portal) -> None:
    portal.start(NAME)
    portal.start("calm-bohr", {**WANTED, "environment": "slow"})
    sessions = {each["name"]: each for each in portal.reconcile()["sessions"]}
    assert sessions[NAME]["state"] == "running"
    assert sessions[NAME]["person"] == "amara"
    assert sessions[NAME]["session_id"] == portal.session_id(NAME)
    assert sessions[NAME]["started"].endswith("Z")
    assert sessions["calm-bohr"]["state"] == "starting"


def test_a_session_that_is_starting_is_left_alone(portal: Portal) -> None:
    portal.start(NAME, {**WANTED, "environment": "slow"})
    while portal.model(NAME)["pending"] == "spawn":
        assert portal.reconcile()["removed"] == []
    assert portal.model(NAME)["ready"]


def test_removes_what_a_session_left_when_its_supervisors_were_killed(portal: Portal) -> None:
    portal.start(NAME)
    session_id = portal.session_id(NAME)
    portal.run(NAME, "setsid nohup sleep 600 >/dev/null 2>&1 &")
    family = processes.find_family(portal.hub_id, session_id)
    rest = family.members - family.supervisors
    assert len(rest) >= 2
    for pid in family.supervisors:
        freeze(pid)
    for pid in family.supervisors:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: portal.model(NAME)["stopped"], 30)
    assert [pid for pid in rest if is_alive(pid)] == []
    wait_until(portal.is_settled, 30)
