"""A hub that is killed at each step of a claim, on a real cloud: a machine is one session's or nobody's.

The hub is a real one, which ends itself without a word right after the step that a test names.
"""

from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from jupyterhub_daas.core.bank import MachineState
from tests.spawners.banks import IDLE
from tests.spawners.cloud_bank import CloudBank, cloud
from tests.spawners.portal import PROPOSAL
from tests.support.labs import Labs
from tests.support.waiting import wait_until

NAME, OTHER = "brave-curie", "calm-bohr"
WANTED = {"proposal": PROPOSAL, "environment": "agent"}
DYING = """
import asyncio
import os
import signal

from jupyterhub_daas.spawners.backends.machines import Bootstrap, MachineBackend
from jupyterhub_daas.spawners.backends.openstack import OpenStackBackend
from jupyterhub_daas.spawners.bank import BankKeeper


def _die_after(step, owner, name):
    real, mark = getattr(owner, name), given["folder"] + "/die-after-" + step

    def die():
        if os.path.exists(mark):
            os.unlink(mark)
            os.kill(os.getpid(), signal.SIGKILL)

    async def awaited(*args, **named):
        result = await real(*args, **named)
        die()
        return result

    def called(*args, **named):
        result = real(*args, **named)
        die()
        return result

    setattr(owner, name, awaited if asyncio.iscoroutinefunction(real) else called)


_die_after("asked", OpenStackBackend, "order_of")
_die_after("claimed", BankKeeper, "claim")
_die_after("issued", Bootstrap, "issue")
_die_after("taken", MachineBackend, "took")
_die_after("fetched", Bootstrap, "redeem")
_die_after("reported", Bootstrap, "report")
"""
# Each is what the hub has done last, and whether there is a machine in it that has been given away.
STEPS = {"asked": 0, "claimed": 1, "issued": 1, "taken": 1, "fetched": 1, "reported": 1}


@pytest.fixture(scope="module")
def running(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudBank]:
    """A portal with a bank."""
    with cloud(tmp_path_factory.mktemp("claim"), labs, extra=DYING) as found:
        yield found


@pytest.fixture
def bank(running: CloudBank) -> Iterator[CloudBank]:
    """The bank, full, and nobody's session."""
    running.portal.clean()
    running.wait_full()
    yield running
    running.portal.clean()


def is_settled(bank: CloudBank) -> bool:
    """Tell whether hub, bank, cloud and quotas agree, and nothing is under way."""
    answer = bank.portal.stack.admin("GET", "/users/amara")
    models = answer.json()["servers"].values()
    ready = {each["state"]["session_id"] for each in models if each["ready"]}
    machines = bank.machines()
    claimed = {each.session_id for each in machines if each.state is MachineState.CLAIMED}
    idle = bank.of(MachineState.IDLE)
    return (
        not any(each["pending"] for each in models)
        and bank.portal.held("amara") == dict.fromkeys(ready, "active")
        and claimed | bank.made() == ready
        and len(idle) == IDLE
        and len(machines) == IDLE + len(claimed)
        and bank.there() == {each.machine_id for each in machines}
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_hub_killed_at_a_step_of_a_claim_leaves_all_in_order(bank: CloudBank, step: str) -> None:
    stack, before = bank.portal.stack, bank.of(MachineState.IDLE)
    mark = stack.folder / f"die-after-{step}"
    mark.touch()
    with suppress(requests.RequestException):
        bank.portal.start(NAME, WANTED)
    wait_until(lambda: not mark.exists(), 60, what=f"the hub is killed after {step}")
    stack.kill_hub()
    stack.start_hub()
    wait_until(lambda: is_settled(bank), 120, what="hub, bank, cloud and quotas agree")
    idle = bank.of(MachineState.IDLE)
    # One that was given away is a session's or gone; the other one waits as before.
    assert len(before - idle) == STEPS[step]
    after = {each.machine_id: each.session_id for each in bank.machines() if each.session_id}
    if bank.portal.model(NAME).get("ready"):
        assert bank.portal.run(NAME, "echo goes on") == "goes on\n"
    bank.portal.start(OTHER, WANTED)
    bank.portal.wait_ready(OTHER)
    assert bank.portal.run(OTHER, "echo works") == "works\n"
    (given,) = [each for each in bank.machines() if each.session_id == bank.portal.session_id(OTHER)]
    assert given.machine_id in idle
    assert given.machine_id not in after
