"""Machines of the bank on the line to the hub: each is only itself, and hears at once of its session."""

import asyncio

import pytest

from jupyterhub_daas.errors import BackendUnavailableError, NotFoundError
from jupyterhub_daas.spawners.backends.machines import Misuse, MisuseError
from jupyterhub_daas.spawners.backends.machines.alarms import MOST_ALARMS
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines
from tests.support.waiting import wait_for

MACHINE, OTHER = "0123456789abcdef", "fedcba9876543210"
MINE, SECRET, FOREIGN = "10.0.0.7", "5" * 64, "6" * 64


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> IdleMachines:
    """One machine that is known, and calls that are held for a moment only."""
    monkeypatch.setattr("jupyterhub_daas.spawners.backends.machines.idle.HOLD_SECONDS", 0.01)
    found = IdleMachines(b"a hub's key")
    found.expect({MACHINE: [MINE]})
    return found


def test_a_code_is_one_machines_of_one_hub_and_stays_the_same() -> None:
    codes = {IdleMachines(key).code_of(each) for key in (b"a", b"b") for each in (MACHINE, OTHER)}
    assert len(codes) == 4
    assert IdleMachines(b"a").code_of(MACHINE) in codes
    assert all(len(code) == 64 for code in codes)


async def test_a_machine_is_up_once_it_has_called(idle: IdleMachines) -> None:
    assert not idle.has_called(MACHINE)
    await idle.hold(MACHINE, idle.code_of(MACHINE), SECRET, MINE)
    assert idle.has_called(MACHINE)
    assert not idle.has_called(OTHER)


async def test_a_machine_hears_at_once_of_its_session() -> None:
    idle = IdleMachines(b"a hub's key")
    idle.expect({MACHINE: [MINE]})
    call = asyncio.ensure_future(idle.hold(MACHINE, idle.code_of(MACHINE), SECRET, MINE))
    await wait_for(lambda: idle.has_called(MACHINE))
    assert not call.done()
    # A list that was asked for meanwhile changes nothing for it.
    idle.expect({MACHINE: [MINE]})
    idle.give(MACHINE)
    await asyncio.wait_for(call, 10)


@pytest.mark.parametrize(
    ("code", "secret", "address", "misuse"),
    [
        pytest.param("0" * 64, SECRET, MINE, Misuse.WRONG_CODE, id="code"),
        pytest.param(None, SECRET, "10.0.0.8", Misuse.FOREIGN_ADDRESS, id="address"),
        pytest.param(None, FOREIGN, MINE, Misuse.REPLAYED, id="process"),
    ],
)
async def test_who_is_not_the_machine_is_told_of(
    idle: IdleMachines, code: str | None, secret: str, address: str, misuse: Misuse
) -> None:
    await idle.hold(MACHINE, idle.code_of(MACHINE), SECRET, MINE)
    for fresh in (True, False):
        with pytest.raises(MisuseError) as error:
            await idle.hold(MACHINE, code or idle.code_of(MACHINE), secret, address)
        assert (error.value.misuse, error.value.fresh) == (misuse, fresh)


async def test_staff_is_not_told_for_ever(idle: IdleMachines) -> None:
    told = 0
    for number in range(MOST_ALARMS + 10):
        with pytest.raises(MisuseError) as error:
            await idle.hold(MACHINE, idle.code_of(MACHINE), SECRET, f"10.1.0.{number}")
        told += error.value.fresh
    assert told == MOST_ALARMS


async def test_a_machine_that_is_not_listed_yet_asks_again_and_a_stranger_is_nobody(
    idle: IdleMachines,
) -> None:
    with pytest.raises(BackendUnavailableError):
        await idle.hold(OTHER, idle.code_of(OTHER), SECRET, MINE)
    with pytest.raises(NotFoundError):
        await idle.hold(OTHER, "0" * 64, SECRET, MINE)
    assert idle.may_know(OTHER, idle.code_of(OTHER))
    assert not idle.may_know(OTHER, "0" * 64)


async def test_a_machine_that_is_gone_is_forgotten_and_let_off_the_line() -> None:
    idle = IdleMachines(b"a hub's key")
    idle.expect({MACHINE: [MINE], OTHER: ["10.0.0.8"]})
    call = asyncio.ensure_future(idle.hold(MACHINE, idle.code_of(MACHINE), SECRET, MINE))
    await wait_for(lambda: idle.has_called(MACHINE))
    idle.expect({OTHER: ["10.0.0.8"]})
    await asyncio.wait_for(call, 10)
    assert idle.addresses_of(MACHINE) == ()
    assert idle.addresses_of(OTHER) == ("10.0.0.8",)
