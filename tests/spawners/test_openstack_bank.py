"""A bank's machines in a cloud: nobody's, apart from those of sessions, and found again whoever has them."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_daas.core.catalogue import Flavour, Profile
from jupyterhub_daas.core.people import Person
from jupyterhub_daas.spawners.backends.machines import BankedProfile
from jupyterhub_daas.spawners.backends.openstack import OpenStackBackend
from jupyterhub_daas.spawners.backends.openstack import backend as backends
from jupyterhub_daas.spawners.backends.openstack.bank import OpenStackBank
from jupyterhub_daas.spawners.backends.openstack.server import Parts
from jupyterhub_daas.spawners.bank import Condition
from tests.spawners import cloud_sessions
from tests.spawners.test_machine_claim import LAUNCH
from tests.support.fake_openstack import FakeOpenStack
from tests.support.waiting import turn_over

MACHINE, OTHER, SESSION = "0123456789abcdef", "fedcba9876543210", "00000000000000aa"
IMAGE = "sha512:" + "0" * 128
PROFILE = Profile(
    key="vm",
    environment="tools",
    backend="openstack",
    flavours=("small",),
    default_flavour="small",
    options={"image": f"analysis@{IMAGE}"},
)
SMALL = Flavour(key="small", title="Small", cpus=1, memory=1 << 30, storage=10 << 30)


@pytest.fixture
async def backend(
    cloud_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenStackBackend]:
    """A hub's backend in it; what machines are made of was found."""
    found = OpenStackBackend(hub_id="hub", shared_account=False, options=cloud_options)

    async def parts(*_: Any) -> Parts:
        return Parts(image="i", digest=IMAGE, image_bytes=1, flavor="f", network="n")

    monkeypatch.setattr(found, "find_parts", parts)
    yield found
    found.cloud.close()


def join(backend: OpenStackBackend) -> OpenStackBank:
    """Have the backend keep machines."""
    keeper: Any = SimpleNamespace()
    backend.join_bank(b"key", {"vm": BankedProfile(PROFILE, SMALL)}, lambda cloud: keeper)
    assert backend.bank is not None
    return backend.bank


def child() -> Any:
    """Return what the backend has to know of a session."""
    return SimpleNamespace(session_id=SESSION, machine_id="", bootstrap=object())


async def test_a_machine_is_made_once_and_is_nobodys(backend: OpenStackBackend, fake: FakeOpenStack) -> None:
    bank = join(backend)
    for _ in range(2):
        await bank.make(MACHINE, "vm", IMAGE)
    (server,) = fake.servers.values()
    assert len(fake.ports) == 1
    assert server["metadata"] == {"daas-hub": "hub-bank", "daas-session": MACHINE, "daas-image": IMAGE}
    user_data = base64.b64decode(server["user_data"]).decode()
    assert f"/daas/machines/{MACHINE}/" in user_data
    assert backend.idle is not None
    assert backend.idle.code_of(MACHINE) in user_data
    # Nothing of it is a session's, so nothing of it is removed as one without a session.
    assert await backend.things() == frozenset()


async def test_a_machine_is_up_when_it_has_called(backend: OpenStackBackend, fake: FakeOpenStack) -> None:
    bank = join(backend)
    await bank.make(MACHINE, "vm", IMAGE)
    assert await bank.machines() == {MACHINE: Condition.COMING}
    assert backend.idle is not None
    (address,) = backend.idle.addresses_of(MACHINE)
    backend.idle.give(MACHINE)
    await backend.idle.hold(MACHINE, backend.idle.code_of(MACHINE), "5" * 64, address)
    assert await bank.machines() == {MACHINE: Condition.UP}
    next(iter(fake.servers.values()))["status"] = "SHUTOFF"
    assert await bank.machines() == {MACHINE: Condition.FAILED}


async def test_what_a_crash_left_of_a_machine_is_found_and_removed(
    backend: OpenStackBackend, fake: FakeOpenStack
) -> None:
    bank = join(backend)
    await bank.make(MACHINE, "vm", IMAGE)
    fake.servers.clear()
    assert await bank.machines() == {MACHINE: Condition.FAILED}
    await bank.remove(MACHINE)
    assert await bank.machines() == {}
    assert not fake.ports


async def test_a_claimed_machine_is_its_sessions(backend: OpenStackBackend, fake: FakeOpenStack) -> None:
    bank = join(backend)
    for each in (MACHINE, OTHER):
        await bank.make(each, "vm", IMAGE)
    backend.took(child(), MACHINE)
    assert await backend.things() == {SESSION}
    found = await backend.look(SESSION, since=float("-inf"))
    assert found is not None
    assert found.session_id == MACHINE
    await backend.remove(SESSION)
    assert await backend.things() == frozenset()
    # The other one waits as before.
    assert (await bank.machines()).keys() == {OTHER}


async def test_whoever_asks_first_claims_first_however_long_an_account_takes_to_be_found(
    backend: OpenStackBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"person-{number}" for number in range(4)]
    found = {name: threading.Event() for name in names}
    ready: list[str] = []

    def groups_of(person: Person, *_: object) -> tuple[int, ...]:
        assert found[person.username].wait(30)
        return ()

    async def order(name: str) -> None:
        person = Person(username=name, uid=20001, gid=20001)
        launch = LAUNCH.model_copy(update={"person": person, "options": PROFILE.options})
        await backend.order_of(cloud_sessions.child(launch), launch)
        ready.append(name)

    monkeypatch.setattr(backends, "groups_of", groups_of)
    orders = [asyncio.ensure_future(order(name)) for name in names]
    for number in (3, 1, 2, 0):
        await turn_over()
        assert ready == []
        found[names[number]].set()
    await asyncio.gather(*orders)
    assert ready == names


async def test_machines_of_a_bank_that_is_no_more_are_left_overs(
    backend: OpenStackBackend, fake: FakeOpenStack
) -> None:
    await join(backend).make(MACHINE, "vm", IMAGE)
    backend.bank = None
    assert await backend.things() == {MACHINE}
    await backend.remove(MACHINE)
    assert await backend.things() == frozenset()
    assert not fake.servers


async def test_an_image_that_changed_meanwhile_makes_no_machine(
    backend: OpenStackBackend, fake: FakeOpenStack
) -> None:
    with pytest.raises(Exception, match="has changed meanwhile"):
        await join(backend).make(MACHINE, "vm", "sha512:" + "1" * 128)
    assert not fake.servers
