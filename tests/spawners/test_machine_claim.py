"""A claim of a machine of the bank, step by step: what fails on the way costs the person only time."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Environment, EnvironmentKind, Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.errors import BackendError, NotFoundError, SessionLostError, UpstreamUnavailableError
from jupyterhub_daas.spawners.backends.machines import BankedProfile, Bootstrap, MachineBackend, MachineOrder
from jupyterhub_daas.spawners.backends.machines import backend as backends
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines

MACHINE, SESSION, ADDRESS = "0123456789abcdef", "fedcba9876543210", "10.0.0.7"
SMALL = Flavour(key="small", title="Small", cpus=1, memory=1 << 30)
PROFILE = Profile(
    key="vm", environment="tools", backend="cloud", flavours=("small",), default_flavour="small"
)
LAUNCH = Launch(
    session_id=SESSION,
    session="brave-curie",
    person=Person(username="amara", uid=20001, gid=20001),
    proposal="20180301",
    environment=Environment(key="tools", title="Tools", kind=EnvironmentKind.VM),
    backend="cloud",
    profile="vm",
    flavour=SMALL,
)
ORDER = MachineOrder(
    username="amara",
    uid=20001,
    gid=20001,
    home="/home/amara",
    command=("jupyterhub-singleuser",),
    environment={"JUPYTERHUB_API_TOKEN": "token"},
    port=8888,
    prefix="/user/amara/brave-curie/",
    folder="proposals/20180301",
)


class Keeper:
    """A bank with one machine."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.away = False

    async def claim(self, profile: str, session_id: str) -> str | None:
        return MACHINE

    async def release(self, machine_id: str) -> None:
        if self.away:
            raise UpstreamUnavailableError("The bank does not answer.", service="bank")
        self.released.append(machine_id)


class Cloud(MachineBackend):
    """A backend whose machines are what a test says."""

    fits: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        super().__init__(hub_id="hub", shared_account=False, options={})
        self.keeper: Any = Keeper()
        self.join_bank(b"key", {"vm": BankedProfile(PROFILE, SMALL)}, lambda cloud: self.keeper)

    def open_bank(self, idle: IdleMachines) -> Any:
        return None

    async def fit(self, machine_id: str, launch: Launch) -> None:
        self.fits()

    def build_child(self, launch: Any, given: Any) -> Any:
        raise NotImplementedError

    def restore_child(self, session_id: Any, given: Any) -> Any:
        raise NotImplementedError

    async def things(self) -> frozenset[str]:
        raise NotImplementedError

    async def remove(self, session_id: str) -> None:
        raise NotImplementedError


@pytest.fixture
def cloud() -> Cloud:
    """The backend; its machine is on the line."""
    found = Cloud()
    assert found.idle is not None
    found.idle.expect({MACHINE: [ADDRESS]})
    return found


@pytest.fixture
def child() -> Any:
    """A session that starts."""
    bootstrap = Bootstrap(SESSION, name="brave-curie", person="amara", keep=lambda: None)
    return SimpleNamespace(session_id=SESSION, machine_id="", bootstrap=bootstrap)


async def listens() -> str:
    """Be a machine that says at once where its session is."""
    return "http://10.0.0.7:8888"


async def crashed() -> str:
    """Be a machine that is no more."""
    raise SessionLostError("Its machine is off.")


async def says_nothing() -> str:
    """Be a machine that does not take its session."""
    await asyncio.Event().wait()
    return ""


async def test_the_machine_can_fetch_the_session_once_it_is_its_own(cloud: Cloud, child: Any) -> None:
    assert await cloud.from_the_bank(child, LAUNCH, ORDER, listens) == "http://10.0.0.7:8888"
    assert child.machine_id == MACHINE
    assert cloud.bootstraps[MACHINE] is child.bootstrap
    assert cloud.idle is not None
    order = child.bootstrap.redeem(cloud.idle.code_of(MACHINE), "5" * 64, ADDRESS)
    assert order["username"] == "amara"


async def test_a_call_that_comes_meanwhile_finds_no_session_without_an_order(
    cloud: Cloud, child: Any
) -> None:
    found: list[bool] = []
    cloud.fits = lambda: found.append(MACHINE in cloud.bootstraps)
    await cloud.from_the_bank(child, LAUNCH, ORDER, listens)
    assert found == [False]


@pytest.mark.parametrize("machine", [crashed, says_nothing])
async def test_a_machine_that_does_not_take_its_session_is_ended(
    cloud: Cloud, child: Any, monkeypatch: pytest.MonkeyPatch, machine: Any
) -> None:
    monkeypatch.setattr(backends, "CLAIM_SECONDS", 0.05)
    assert await cloud.from_the_bank(child, LAUNCH, ORDER, machine) is None
    assert cloud.keeper.released == [MACHINE]
    assert (child.machine_id, cloud.claimed, cloud.bootstraps) == ("", {}, {})


async def test_a_machine_that_is_not_there_or_not_fit_is_ended(cloud: Cloud, child: Any) -> None:
    def refuse() -> None:
        raise BackendError("There is no such group.")

    cloud.fits = refuse
    assert await cloud.from_the_bank(child, LAUNCH, ORDER, listens) is None
    assert cloud.idle is not None
    cloud.idle.expect({})
    assert await cloud.from_the_bank(child, LAUNCH, ORDER, listens) is None
    assert cloud.keeper.released == [MACHINE, MACHINE]
    with pytest.raises(NotFoundError):
        child.bootstrap.redeem(cloud.idle.code_of(MACHINE), "5" * 64, ADDRESS)


async def test_a_bank_that_is_away_at_the_wrong_moment_fails_no_start(cloud: Cloud, child: Any) -> None:
    cloud.keeper.away = True
    assert await cloud.from_the_bank(child, LAUNCH, ORDER, crashed) is None
    assert child.machine_id == ""


async def test_who_wants_another_size_or_profile_is_no_claim(cloud: Cloud, child: Any) -> None:
    large = SMALL.model_copy(update={"cpus": 8.0})
    for change in ({"flavour": large}, {"profile": "other"}):
        other = LAUNCH.model_copy(update=change)
        assert await cloud.from_the_bank(child, other, ORDER, listens) is None
    assert cloud.claimed == {}
