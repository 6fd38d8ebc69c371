"""Machines are ready before anybody asks: a real hub, its bank, and machines, of each place that has them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from jupyterhub_daas.core.bank import MachineState
from tests.spawners.banks import IDLE, Bank, processes
from tests.spawners.portal import PROPOSAL
from tests.spawners.test_machine_callback import FOREIGN, call_hub
from tests.support.labs import Labs
from tests.support.process_machines import given_to
from tests.support.waiting import wait_until

NAME, OTHER = "brave-curie", "calm-bohr"
WANTED = {"proposal": PROPOSAL, "environment": "agent"}
Place = Callable[[Path, Labs], AbstractContextManager[Bank]]
PLACES: dict[str, Place] = {"processes": processes}

# It builds a cloud first, and takes long: a part of its own, see scripts/test.
if "DAAS_TEST_OPENSTACK" in os.environ:
    from tests.spawners.cloud_bank import cloud

    PLACES["openstack"] = cloud


@pytest.fixture(scope="module", params=PLACES)
def running(
    request: pytest.FixtureRequest, labs: Labs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bank]:
    """A portal with a bank, of each kind of machines in turn."""
    place: str = request.param
    with PLACES[place](tmp_path_factory.mktemp("bank"), labs) as found:
        yield found


@pytest.fixture
def bank(running: Bank) -> Iterator[Bank]:
    """The bank, full, and nobody's session."""
    running.portal.clean()
    running.take_first_image()
    running.wait_full()
    yield running
    running.portal.clean()


def test_a_session_gets_a_machine_that_waits_and_the_bank_is_filled_again(bank: Bank) -> None:
    before = bank.of(MachineState.IDLE)
    bank.portal.start(NAME, WANTED)
    bank.portal.wait_ready(NAME)
    assert bank.portal.run(NAME, "echo works") == "works\n"
    (claimed,) = bank.of(MachineState.CLAIMED)
    assert claimed in before
    assert bank.made() == set()
    wait_until(lambda: len(bank.of(MachineState.IDLE)) == IDLE, 60, what="the bank is filled again")
    bank.portal.stop(NAME)
    # It is used once.
    assert claimed not in bank.wait_full()
    assert claimed not in bank.there()


def test_a_machine_that_waits_has_no_person_and_no_data(bank: Bank) -> None:
    for machine_id in bank.there():
        place = bank.place(machine_id)
        given = given_to(place)
        assert given.keys() == {"url", "code", "ca"}
        known = "".join(file.read_text() for file in place.iterdir() if file.is_file())
        for secret in ("amara", PROPOSAL, "JUPYTERHUB_API_TOKEN"):
            assert secret not in known


def test_another_size_is_made_as_ever(bank: Bank) -> None:
    bank.portal.start(NAME, {**WANTED, "flavour": "medium"})
    bank.portal.wait_ready(NAME)
    assert len(bank.made()) == 1
    assert bank.of(MachineState.CLAIMED) == set()


def test_when_none_waits_one_is_made(bank: Bank) -> None:
    names = [NAME, OTHER, "keen-raman"]
    for name in names:
        bank.portal.start(name, WANTED)
    for name in names:
        bank.portal.wait_ready(name)
        assert bank.portal.run(name, "echo works") == "works\n"
    assert len(bank.of(MachineState.CLAIMED)) + len(bank.made()) == len(names)
    assert len(bank.of(MachineState.CLAIMED)) >= IDLE


def test_two_who_ask_at_once_get_a_machine_each(bank: Bank) -> None:
    before = bank.of(MachineState.IDLE)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: bank.portal.start(name, WANTED), (NAME, OTHER)))
    for name in (NAME, OTHER):
        bank.portal.wait_ready(name)
        assert bank.portal.run(name, "echo works") == "works\n"
    assert bank.of(MachineState.CLAIMED) == before
    assert bank.made() == set()
    for name in (NAME, OTHER):
        bank.portal.stop(name)
    assert not before & bank.wait_full()


def test_machines_and_sessions_outlive_a_hub_that_is_killed(bank: Bank) -> None:
    bank.portal.start(NAME, WANTED)
    bank.portal.wait_ready(NAME)
    wait_until(lambda: len(bank.of(MachineState.IDLE)) == IDLE, 60, what="the bank is filled again")
    before, claimed = bank.of(MachineState.IDLE), bank.of(MachineState.CLAIMED)
    bank.portal.stack.kill_hub()
    rounds = bank.rounds()
    bank.portal.stack.start_hub()
    bank.portal.wait_ready(NAME)
    wait_until(lambda: bank.rounds() > rounds, 60, what="the bank is kept again")
    assert bank.portal.run(NAME, "echo goes on") == "goes on\n"
    assert bank.of(MachineState.CLAIMED) == claimed
    # Those that waited are known again, and can be had.
    bank.portal.start(OTHER, WANTED)
    bank.portal.wait_ready(OTHER)
    assert bank.made() == set()
    assert bank.of(MachineState.CLAIMED) - claimed <= before
    bank.portal.stop(NAME)
    wait_until(lambda: not claimed & bank.there(), 60, what="its machine is gone")


def test_a_machine_of_another_image_is_replaced(bank: Bank) -> None:
    before = bank.of(MachineState.IDLE)
    bank.take_next_image()
    wait_until(lambda: not before & bank.there(), 60, what="the old ones are gone")
    assert not before & bank.wait_full()


def call_from_elsewhere(bank: Bank, machine_id: str, code: str = "") -> None:
    """Ask for a machine's session from an address that is not its own."""
    given = given_to(bank.place(machine_id))
    status, _ = call_hub(given, "session", code or given["code"], {"secret": FOREIGN}, bank.elsewhere)
    assert status == 403


def wait_for_alarms(bank: Bank, request_id: str, wanted: set[str]) -> None:
    """Wait until the audit trail has these alarms about a session or a machine."""

    def alarms() -> set[str]:
        answer = bank.portal.stack.call("accounts", "GET", "audit", params={"action": "alarm"})
        answer.raise_for_status()
        return {each["reason"] for each in answer.json()["items"] if each["request_id"] == request_id}

    wait_until(lambda: alarms() == wanted, 30, what="staff is told")


def test_whoever_calls_with_a_waiting_machines_code_from_elsewhere_raises_an_alarm(bank: Bank) -> None:
    machine_id = sorted(bank.there())[0]
    for code in ("", "0" * 64):
        call_from_elsewhere(bank, machine_id, code)
    wait_for_alarms(bank, machine_id, {"foreign_address", "wrong_code"})
    # The machine itself goes on, and is given to somebody.
    assert machine_id in bank.of(MachineState.IDLE)


def test_an_alarm_about_a_machine_that_has_a_session_names_the_session(bank: Bank) -> None:
    bank.portal.start(NAME, WANTED)
    bank.portal.wait_ready(NAME)
    (claimed,) = bank.of(MachineState.CLAIMED)
    call_from_elsewhere(bank, claimed)
    wait_for_alarms(bank, bank.portal.session_id(NAME), {"code_replayed"})


def test_a_machine_that_went_away_while_it_waited_fails_no_start(bank: Bank) -> None:
    # A hub that does not hear of it asks one in vain. The others are dead, too: see the next test.
    for machine_id in bank.there():
        bank.kill(machine_id)
    bank.portal.start(NAME, WANTED)
    bank.portal.wait_ready(NAME)
    assert bank.portal.run(NAME, "echo works") == "works\n"


def test_a_bank_that_keeps_none_any_more_leaves_nothing(bank: Bank) -> None:
    # The last one here: it also clears away what the one before has killed.
    with bank.keeping(0):
        wait_until(lambda: not bank.machines() and not bank.left(), 60, what="all machines are gone")
