"""One suite of named failures for every backend, through a real hub, proxy and services.

A further backend joins by one line in BACKENDS: profiles with its own modes, and how to kill a session behind
our back.
"""

import os
import signal
from abc import ABC, abstractmethod

import pytest

from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.support.waiting import wait_until


class BackendUnderTest(ABC):
    """What the suite has to know of a backend."""

    name: str

    @abstractmethod
    def options(self, mode: str) -> dict[str, str]:
        """Return the options of a start in the given mode."""

    @abstractmethod
    def things(self, portal: Portal) -> frozenset[str]:
        """Return the session ids of what runs, seen from outside the hub."""

    @abstractmethod
    def kill(self, portal: Portal, session_id: str) -> None:
        """Kill a session behind our back."""


class Local(BackendUnderTest):
    """Sessions as processes of this machine."""

    name = "local"

    def options(self, mode: str) -> dict[str, str]:
        """Each mode is an environment of its own."""
        return {"proposal": PROPOSAL, "environment": mode}

    def things(self, portal: Portal) -> frozenset[str]:
        """Look into the process table."""
        return portal.living()

    def kill(self, portal: Portal, session_id: str) -> None:
        """Kill every process of the session, supervisors first."""
        for pid in sorted(portal.family(session_id)):
            os.kill(pid, signal.SIGKILL)


BACKENDS = [Local()]


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> BackendUnderTest:
    """Each backend in turn."""
    found: BackendUnderTest = request.param
    return found


NAME = "brave-curie"


def is_gone(portal: Portal, backend: BackendUnderTest) -> bool:
    """Tell whether neither process nor reservation nor name is left."""
    return not backend.things(portal) and not portal.held("amara") and NAME not in portal.names()


def test_a_session_works_and_its_stop_leaves_nothing(portal: Portal, backend: BackendUnderTest) -> None:
    with quiet_log(portal.stack):
        assert portal.start(NAME, backend.options("works")).status_code == 201
        session_id = portal.session_id(NAME)
        assert portal.held("amara") == {session_id: "active"}
        assert backend.things(portal) == {session_id}
        assert portal.stop(NAME).status_code == 204
        assert not backend.things(portal)
        assert portal.held("amara") == {}
        # A session that ran keeps its name, to be started again or deleted.
        assert portal.model(NAME)["stopped"]
        assert portal.start(NAME, backend.options("works")).status_code == 201
        assert portal.session_id(NAME) != session_id
        portal.stop(NAME, remove=True)
    assert NAME not in portal.names()


def test_a_slow_session_comes_up(portal: Portal, backend: BackendUnderTest) -> None:
    assert portal.start(NAME, backend.options("slow")).status_code == 202
    assert portal.model(NAME)["pending"] == "spawn"
    (state,) = portal.held("amara").values()
    assert state == "held"
    portal.wait_ready(NAME)
    assert portal.held("amara") == {portal.session_id(NAME): "active"}


def test_a_session_that_never_comes_up_is_given_up(portal: Portal, backend: BackendUnderTest) -> None:
    with quiet_log(portal.stack):
        assert portal.start(NAME, backend.options("never")).status_code == 202
        assert len(backend.things(portal)) == 1
        wait_until(lambda: not backend.things(portal) and not portal.held("amara"), 30)
    assert "reason=start_timeout" in portal.stack.log()


def test_a_session_that_dies_at_its_start_says_so(portal: Portal, backend: BackendUnderTest) -> None:
    with quiet_log(portal.stack):
        answer = portal.start(NAME, backend.options("dies"))
        assert answer.status_code == 502
        assert "ended while it was starting" in answer.json()["message"]
        wait_until(lambda: is_gone(portal, backend), 10)


def test_a_session_that_dies_later_is_closed(portal: Portal, backend: BackendUnderTest) -> None:
    portal.start(NAME, backend.options("works"))
    with quiet_log(portal.stack):
        portal.leave(NAME)
        wait_until(lambda: portal.model(NAME)["stopped"], 30)
        wait_until(lambda: not portal.held("amara") and not backend.things(portal), 10)


def test_a_session_killed_behind_our_back_is_closed(portal: Portal, backend: BackendUnderTest) -> None:
    portal.start(NAME, backend.options("works"))
    with quiet_log(portal.stack):
        backend.kill(portal, portal.session_id(NAME))
        wait_until(lambda: portal.model(NAME)["stopped"], 30)
        wait_until(lambda: not portal.held("amara") and not backend.things(portal), 10)


def test_a_session_killed_while_the_hub_is_away_is_closed(portal: Portal, backend: BackendUnderTest) -> None:
    portal.start(NAME, backend.options("works"))
    session_id = portal.session_id(NAME)
    portal.stack.stop_hub()
    backend.kill(portal, session_id)
    portal.stack.start_hub()
    wait_until(lambda: portal.model(NAME)["stopped"], 30)
    # The quotas service comes up after the hub has looked at its sessions: lifecycle releases.
    wait_until(lambda: not portal.held("amara"), 90)


@pytest.mark.parametrize("crash", [False, True], ids=["in order", "killed"])
def test_a_session_outlives_the_hub(portal: Portal, backend: BackendUnderTest, crash: bool) -> None:
    portal.start(NAME, backend.options("works"))
    session_id, processes = portal.session_id(NAME), portal.family(portal.session_id(NAME))
    if crash:
        portal.stack.kill_hub()
    else:
        portal.stack.stop_hub()
    assert backend.things(portal) == {session_id}
    portal.stack.start_hub()
    portal.wait_ready(NAME)
    assert portal.family(session_id) == processes
    assert portal.held("amara") == {session_id: "active"}
    assert portal.reconcile()["removed"] == []
    assert portal.run(NAME, "echo still here") == "still here\n"
    portal.stop(NAME)
    assert not backend.things(portal)
    assert portal.held("amara") == {}


def test_a_start_that_is_cancelled_leaves_nothing(portal: Portal, backend: BackendUnderTest) -> None:
    portal.start(NAME, backend.options("slow"))
    with quiet_log(portal.stack):
        portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}", json={"remove": True})
        wait_until(lambda: is_gone(portal, backend), 20)


def test_a_start_that_is_stopped_leaves_no_name(portal: Portal, backend: BackendUnderTest) -> None:
    portal.start(NAME, backend.options("slow"))
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}")
    wait_until(lambda: is_gone(portal, backend), 20)
