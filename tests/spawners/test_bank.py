"""Machines are ready before anybody asks: a real hub, its bank, and machines that are processes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.core.bank import Banked, BankedList, MachineState
from tests.spawners.portal import PROPOSAL, Portal
from tests.spawners.test_machine_callback import FOREIGN, call_hub, machine_portal, machine_settings
from tests.support.process_machines import given_to
from tests.support.waiting import wait_until

NAME, OTHER = "brave-curie", "calm-bohr"
WANTED = {"proposal": PROPOSAL, "environment": "agent"}
IDLE = 2
NETWORK = "127.20.1"


def bank_settings() -> dict[str, Any]:
    """Return the settings of a portal that keeps machines ready."""
    whole = machine_settings()
    whole["profiles"] = {"agent": {**whole["profiles"]["agent"], "flavours": ["small", "medium"]}}
    whole["environments"] = {"agent": whole["environments"]["agent"]}
    whole["bank"] = {"agent": {"idle": IDLE, "most": 6, "per_minute": 1000}}
    return whole


class Bank:
    """A portal with its machines."""

    def __init__(self, portal: Portal, folder: Path) -> None:
        self.portal, self.folder = portal, folder

    def machines(self) -> tuple[Banked, ...]:
        """Return what the bank has recorded."""
        answer = self.portal.stack.call("bank", "GET", f"hubs/{self.portal.hub_id}/machines")
        answer.raise_for_status()
        return BankedList.model_validate(answer.json()).items

    def of(self, state: MachineState) -> set[str]:
        """Return the machines in one state."""
        return {each.machine_id for each in self.machines() if each.state is state}

    def there(self) -> set[str]:
        """Return the machines that there are."""
        return {each.name for each in (self.folder / "banked").iterdir()}

    def rounds(self) -> int:
        """Return how often the hub has looked after the bank."""
        return self.portal.stack.log().count("POST /services/bank/api/v1/tend")

    def is_full(self) -> bool:
        """Tell whether as many wait as are wanted, and nothing else is about."""
        idle = self.of(MachineState.IDLE)
        return len(idle) == IDLE and len(self.machines()) == IDLE and self.there() == idle

    def wait_full(self) -> set[str]:
        """Wait for it; return the machines."""
        wait_until(self.is_full, 60, what="the bank is full")
        return self.of(MachineState.IDLE)

    def made(self) -> set[str]:
        """Return the sessions that had a machine made for them."""
        return {each.name for each in (self.folder / "machines").iterdir()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A portal with a bank."""
    folder = tmp_path_factory.mktemp("bank")
    (folder / "stack").mkdir()
    (folder / "stack" / "image").write_text("sha256:1")
    with machine_portal(folder, bank_settings(), guests=["agent"], network=NETWORK) as portal:
        yield Bank(portal, folder / "stack")


@pytest.fixture
def bank(running: Bank) -> Iterator[Bank]:
    """The bank, full, and nobody's session."""
    running.portal.clean()
    (running.folder / "image").write_text("sha256:1")
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
        place = bank.folder / "banked" / machine_id
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
    (bank.folder / "image").write_text("sha256:2")
    wait_until(lambda: not before & bank.there(), 60, what="the old ones are gone")
    assert not before & bank.wait_full()


def test_a_machine_that_went_away_while_it_waited_fails_no_start(bank: Bank) -> None:
    # The hub does not hear that a guest has died; so each one is asked in vain, and one is made.
    for machine_id in bank.there():
        os.killpg(int((bank.folder / "banked" / machine_id / "pid").read_text()), signal.SIGKILL)
    bank.portal.start(NAME, WANTED)
    bank.portal.wait_ready(NAME)
    assert bank.portal.run(NAME, "echo works") == "works\n"


def test_whoever_calls_with_a_waiting_machines_code_from_elsewhere_raises_an_alarm(bank: Bank) -> None:
    machine_id = sorted(bank.there())[0]
    given = given_to(bank.folder / "banked" / machine_id)
    for code in (given["code"], "0" * 64):
        status, _ = call_hub(given, "session", code, {"secret": FOREIGN}, f"{NETWORK}.99")
        assert status == 403

    def alarms() -> set[str]:
        answer = bank.portal.stack.call("accounts", "GET", "audit", params={"action": "alarm"})
        answer.raise_for_status()
        return {each["reason"] for each in answer.json()["items"] if each["request_id"] == machine_id}

    wait_until(lambda: alarms() == {"foreign_address", "wrong_code"}, 30, what="staff is told")
    # The machine itself goes on, and is given to somebody.
    assert machine_id in bank.of(MachineState.IDLE)
