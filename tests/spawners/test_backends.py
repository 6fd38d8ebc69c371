"""One suite of named failures for every backend, through a real hub, proxy and services.

A further backend joins by one line in tests/spawners/backends, with a class that knows its small servers and
how it is looked at, killed and made unreachable from outside.
"""

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.spawners.backends import BACKENDS, BackendUnderTest
from tests.spawners.chaos import PEOPLE, Chaos
from tests.spawners.portal import PROPOSAL, Portal, quiet_log, rows
from tests.support.labs import Labs
from tests.support.postgres import Postgres, private_postgres
from tests.support.waiting import wait_until

# A few rounds in each run; a hundred by hand, with the number of the first to begin elsewhere.
FIRST_ROUND = int(os.environ.get("DAAS_CHAOS_FIRST", "1"))
# How long an outage lasts at least; by hand longer than a run of all tests should take.
OUTAGE_SECONDS = float(os.environ.get("DAAS_OUTAGE_SECONDS", "0"))
NAME, OTHER, THIRD, FOURTH = "brave-curie", "calm-bohr", "keen-raman", "agile-raman"


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda cls: cls.name)
def backend(request: pytest.FixtureRequest, labs: Labs) -> Iterator[BackendUnderTest]:
    """Each backend in turn, its lab up."""
    cls: type[BackendUnderTest] = request.param
    found = cls(labs.up(cls.lab) if cls.lab else {})
    yield found
    found.close()


@pytest.fixture(scope="module")
def database(backend: BackendUnderTest) -> Iterator[Postgres]:
    """The services' database server, as in production, in the backend's network; it may be killed."""
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def backend_portal(
    backend: BackendUnderTest, database: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Portal]:
    """A portal with this backend, any part of which these tests may kill and start again."""
    url = database.create_database("daas")
    stack = backend.build_stack(tmp_path_factory.mktemp(backend.name), configure={"database_url": url})
    try:
        yield Portal(stack.start(), PEOPLE, things=backend.things, patience=backend.patience)
    finally:
        stack.stop()


@pytest.fixture
def portal(backend_portal: Portal) -> Iterator[Portal]:
    """The portal without any session, before the test and after it."""
    backend_portal.clean()
    yield backend_portal
    backend_portal.clean()


def options(mode: str) -> dict[str, str]:
    """Return the options of a start in the given mode: each is an environment of its own."""
    return {"proposal": PROPOSAL, "environment": mode}


def start(portal: Portal, name: str = NAME) -> str:
    """Start a session that works, wait until it can be entered, and return its session id."""
    answer = portal.start(name, options("works"))
    assert answer.status_code in (201, 202), answer.text
    portal.wait_ready(name)
    return portal.session_id(name)


def is_gone(portal: Portal) -> bool:
    """Tell whether neither thing nor reservation nor row is left.

    The hub shows the name of a start that was refused late for a while, so that the reason can be read.
    """
    stored = any(name == NAME for _, name, _ in rows(portal))
    return not portal.living() and not portal.held("amara") and not stored


def is_closed(portal: Portal) -> bool:
    """Tell whether the session is known to have ended, and nothing of it is left."""
    return bool(portal.model(NAME)["stopped"]) and not portal.held("amara") and not portal.living()


def test_a_session_works_and_its_stop_leaves_nothing(portal: Portal) -> None:
    with quiet_log(portal.stack):
        session_id = start(portal)
        assert portal.held("amara") == {session_id: "active"}
        assert portal.living() == {session_id}
        assert portal.run(NAME, "echo $DAAS_PROPOSAL") == f"{PROPOSAL}\n"
        assert portal.stop(NAME).status_code in (202, 204)
        assert not portal.living()
        assert portal.held("amara") == {}
        # A session that ran keeps its name, to be started again or deleted.
        assert portal.model(NAME)["stopped"]
        assert start(portal) != session_id
        portal.stop(NAME, remove=True)
        wait_until(lambda: NAME not in portal.names(), 10)


def runs(*command: str) -> bool:
    """Tell whether a process of this machine, as those of all labs are, has this command."""
    wanted = b"".join(word.encode() + b"\0" for word in command)
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if place.read_bytes() == wanted:
                return True
    return False


def test_what_detaches_itself_ends_with_its_session(portal: Portal) -> None:
    detached = ("sleep", str(secrets.randbelow(10**6) + 10**6))
    start(portal)
    portal.run(NAME, f"setsid -f {' '.join(detached)} </dev/null >/dev/null 2>&1")
    wait_until(lambda: runs(*detached), 10)
    portal.stop(NAME)
    wait_until(lambda: not runs(*detached), portal.patience)


def test_a_slow_session_comes_up(portal: Portal) -> None:
    assert portal.start(NAME, options("slow")).status_code == 202
    assert portal.model(NAME)["pending"] == "spawn"
    (state,) = portal.held("amara").values()
    assert state == "held"
    portal.wait_ready(NAME)
    assert portal.held("amara") == {portal.session_id(NAME): "active"}


def test_a_session_that_never_comes_up_is_given_up(portal: Portal) -> None:
    with quiet_log(portal.stack):
        assert portal.start(NAME, options("never")).status_code == 202
        wait_until(portal.living, portal.patience)
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)
    assert "reason=start_timeout" in portal.stack.log()


def test_a_session_that_dies_at_its_start_says_so(portal: Portal) -> None:
    with quiet_log(portal.stack):
        assert "ended while it was starting" in portal.refusal(NAME, options("dies"))
        wait_until(lambda: is_gone(portal), portal.patience)


def test_a_session_that_dies_later_is_closed(portal: Portal) -> None:
    start(portal)
    with quiet_log(portal.stack):
        portal.leave(NAME)
        wait_until(lambda: is_closed(portal), portal.patience)


def test_a_session_killed_behind_our_back_is_closed(portal: Portal, backend: BackendUnderTest) -> None:
    session_id = start(portal)
    with quiet_log(portal.stack):
        backend.kill(portal.hub_id, session_id)
        wait_until(lambda: is_closed(portal), portal.patience)


def assert_goes_on(portal: Portal, backend: BackendUnderTest, session_id: str, traces: object) -> None:
    """Fail unless the session is what it was before the hub was away; then end it."""
    portal.wait_ready(NAME)
    assert portal.session_id(NAME) == session_id
    assert backend.traces(portal.hub_id, session_id) == traces
    assert portal.held("amara")[session_id] == "active"
    assert portal.reconcile()["removed"] == []
    assert portal.run(NAME, "echo still here") == "still here\n"
    portal.stop(NAME)
    assert session_id not in portal.living() | set(portal.held("amara"))


def test_while_the_hub_is_away_one_session_goes_on_and_one_is_killed(
    portal: Portal, backend: BackendUnderTest
) -> None:
    kept, killed = start(portal), start(portal, OTHER)
    traces = backend.traces(portal.hub_id, kept)
    assert traces
    portal.stack.stop_hub()
    assert portal.living() == {kept, killed}
    backend.kill(portal.hub_id, killed)
    portal.stack.start_hub()
    wait_until(lambda: portal.model(OTHER)["stopped"], portal.patience)
    # The quotas service comes up after the hub has looked at its sessions: lifecycle releases.
    wait_until(lambda: portal.held("amara") == {kept: "active"}, 90)
    assert_goes_on(portal, backend, kept, traces)


def ask_to_stop(portal: Portal, name: str = NAME) -> None:
    """Ask for the end of a session; the hub answers after some seconds, even if that takes longer."""
    with suppress(requests.ConnectionError):
        portal.stack.admin("DELETE", f"/users/amara/servers/{name}")


def test_a_hub_killed_while_sessions_run_start_and_stop_leaves_all_in_order(
    portal: Portal, backend: BackendUnderTest
) -> None:
    kept = start(portal)
    traces = backend.traces(portal.hub_id, kept)
    start(portal, OTHER)
    stopping = threading.Thread(target=ask_to_stop, args=(portal, OTHER))
    stopping.start()
    wait_until(lambda: portal.model(OTHER).get("pending") == "stop" or portal.model(OTHER)["stopped"], 20)
    portal.start(THIRD, options("slow"))
    portal.start(FOURTH, options("works"))
    portal.stack.kill_hub()
    stopping.join()
    assert kept in portal.living()
    portal.stack.start_hub()
    # What had begun comes up or is removed; either way all agree on it.
    wait_until(portal.is_settled, 2 * portal.patience, what="hub, backend and quotas agree")
    assert_goes_on(portal, backend, kept, traces)


def test_a_start_that_is_cancelled_leaves_nothing(portal: Portal) -> None:
    portal.start(NAME, options("slow"))
    with quiet_log(portal.stack):
        portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}", json={"remove": True})
        wait_until(lambda: is_gone(portal), portal.patience)


def test_a_start_that_is_stopped_leaves_no_name(portal: Portal) -> None:
    portal.start(NAME, options("slow"))
    portal.stack.admin("DELETE", f"/users/amara/servers/{NAME}")
    wait_until(lambda: is_gone(portal), portal.patience)


def test_a_backend_that_is_away_loses_nothing(portal: Portal, backend: BackendUnderTest) -> None:
    kept, ended = start(portal), start(portal, OTHER)
    traces = backend.traces(portal.hub_id, kept)
    with backend.away():
        begun_at = time.monotonic()
        ask_to_stop(portal, OTHER)
        answer = portal.start(THIRD, options("works"))
        assert answer.status_code in (201, 202), answer.text
        # No event tells that an outage has lasted.
        time.sleep(max(0.0, begun_at + max(backend.outage, OUTAGE_SECONDS) - time.monotonic()))
        assert portal.model(NAME)["ready"]
        assert portal.run(NAME, "echo goes on") == "goes on\n"
        # Whatever holds resources there still counts.
        if backend.lab:
            assert set(portal.held("amara")) >= {kept, ended}
    begun = portal.wait_ready(THIRD)["state"]["session_id"]
    wait_until(lambda: portal.living() == {kept, begun}, portal.patience, what="the stop is carried out")
    wait_until(lambda: portal.held("amara") == {kept: "active", begun: "active"}, portal.patience)
    assert backend.traces(portal.hub_id, kept) == traces


def test_a_hub_that_starts_while_the_backend_is_away_loses_nothing(
    portal: Portal, backend: BackendUnderTest
) -> None:
    session_id = start(portal)
    traces = backend.traces(portal.hub_id, session_id)
    portal.stack.stop_hub()
    with backend.away():
        portal.stack.start_hub()
        portal.wait_ready(NAME)
        assert portal.run(NAME, "echo goes on") == "goes on\n"
    wait_until(portal.is_settled, portal.patience, what="hub, backend and quotas agree")
    assert backend.traces(portal.hub_id, session_id) == traces
    portal.stop(NAME)
    wait_until(lambda: not portal.living(), portal.patience)


def test_whatever_is_killed_at_any_moment_leaves_all_in_order(
    portal: Portal, backend: BackendUnderTest, database: Postgres
) -> None:
    chaos = Chaos(portal, backend, database)
    rounds = int(os.environ.get("DAAS_CHAOS_ROUNDS", backend.chaos_rounds))
    killed = [chaos.round(number) for number in range(FIRST_ROUND, FIRST_ROUND + rounds)]
    print(f"chaos on {backend.name}: {len(killed)} rounds, killed {sorted(set(killed))}")
