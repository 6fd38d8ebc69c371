"""The shortest way through sessions on a real cloud: one works, has no room, is lost, has a machine ready."""

import os
from collections.abc import Iterator

import pytest

from jupyterhub_daas.core.bank import MachineState
from tests.spawners.cloud_bank import CloudBank, cloud
from tests.spawners.portal import PROPOSAL, quiet_log
from tests.support.labs import Labs
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can bring the cloud up")

NAME = "brave-curie"
MADE = {"proposal": PROPOSAL, "environment": "made"}
BANKED = {"proposal": PROPOSAL, "environment": "agent"}
NOWHERE = "nowhere"


@pytest.fixture(scope="module")
def running(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudBank]:
    """A portal whose bank has one machine of one of its environments, with a size that no host has."""
    rule = {"idle": 1, "most": 3, "per_minute": 1000}
    folder = tmp_path_factory.mktemp("quick")
    with cloud(folder, labs, rule=rule, others=["made"], sizes=[NOWHERE]) as found:
        yield found


@pytest.fixture
def bank(running: CloudBank) -> Iterator[CloudBank]:
    """The portal without any session, before the test and after it."""
    running.portal.clean()
    yield running
    running.portal.clean()


def is_over(bank: CloudBank) -> bool:
    """Tell whether nothing of any session is left."""
    return not bank.portal.living() and not bank.portal.held("amara")


def start(bank: CloudBank, options: dict[str, str]) -> str:
    """Start a session that works; return its id."""
    bank.portal.start(NAME, options)
    bank.portal.wait_ready(NAME)
    assert bank.portal.run(NAME, "id -un") == "amara\n"
    return bank.portal.session_id(NAME)


def test_a_session_works_and_its_stop_leaves_nothing(bank: CloudBank) -> None:
    with quiet_log(bank.portal.stack):
        session_id = start(bank, MADE)
        assert bank.portal.living() == bank.made() == {session_id}
        bank.portal.stop(NAME)
        assert is_over(bank)


def test_a_size_that_no_host_has_says_so(bank: CloudBank) -> None:
    with quiet_log(bank.portal.stack):
        assert "no room for a machine" in bank.portal.refusal(NAME, {**MADE, "flavour": NOWHERE})
        wait_until(lambda: is_over(bank), bank.portal.patience, what="nothing of it is left")


def test_a_session_deleted_behind_our_back_is_closed(bank: CloudBank) -> None:
    session_id = start(bank, MADE)
    with quiet_log(bank.portal.stack):
        bank.delete(session_id)
        wait_until(lambda: bank.portal.model(NAME)["stopped"], bank.portal.patience)
        wait_until(lambda: is_over(bank), bank.portal.patience, what="nothing of it is left")


def test_a_session_gets_a_machine_that_waits(bank: CloudBank) -> None:
    (waiting,) = wait_until(lambda: bank.of(MachineState.IDLE), 60, what="a machine waits")
    start(bank, BANKED)
    assert bank.of(MachineState.CLAIMED) == {waiting}
    assert bank.made() == set()
    bank.portal.stop(NAME)
    # It is used once.
    wait_until(lambda: waiting not in bank.there(), 60, what="its machine is gone")
