"""What a hub does when a real cloud takes no notice of it any more: its token, its credential, no answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from jupyterhub_daas.errors import BackendUnavailableError
from jupyterhub_daas.spawners.backends.openstack import OpenStackBackend
from jupyterhub_daas.spawners.backends.openstack.cloud import lets_in
from tests.spawners.backends.openstack import OpenStack
from tests.spawners.cloud_sessions import backend, built, child, launch
from tests.support.labs import Labs
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Iterator[OpenStack]:
    """A project of the lab's cloud."""
    with closing(OpenStack(labs.up("openstack"))) as found:
        yield found


@pytest.fixture
async def found(lab: OpenStack, tmp_path: Path) -> AsyncIterator[OpenStackBackend]:
    """A hub's backend in it, which has been let in, and does not wait for long."""
    made = backend(lab, tmp_path, request_seconds=5)

    async def answered() -> bool:
        # A machine that does much else takes its time, too.
        try:
            return await made.things() == frozenset()
        except BackendUnavailableError:
            return False

    await wait_for(answered, what="the cloud answers")
    yield made
    made.cloud.close()


async def test_a_token_that_is_over_is_replaced(found: OpenStackBackend, lab: OpenStack) -> None:
    token = await found.cloud.ask(lambda c: c.session.get_token())
    nova = await found.cloud.ask(lambda c: c.compute.get_endpoint())

    def status(each: str) -> int:
        return requests.get(f"{nova}/servers", headers={"X-Auth-Token": each}, timeout=60).status_code

    assert status(token) == 200
    lab.cloud.withdraw(token)
    assert status(token) == 401
    wanted = launch(lab)
    await found.begin(child(wanted), wanted)
    assert await found.cloud.ask(lambda c: c.session.get_token()) != token
    assert (await built(found, wanted.session_id)).phase.value == "running"
    await found.remove(wanted.session_id)
    assert await found.things() == frozenset()


async def test_a_cloud_that_hangs_is_away_and_holds_nobody_up(
    found: OpenStackBackend, lab: OpenStack
) -> None:
    with lab.cloud.hanging("nova"):
        asking = asyncio.ensure_future(found.look("0" * 16, since=float("-inf")))
        # Whoever asks another of its parts has an answer meanwhile.
        await found.cloud.ask(lambda c: list(c.network.networks()))
        assert not asking.done()
        with pytest.raises(BackendUnavailableError) as caught:
            await asking
    assert lets_in(caught.value)
    assert await found.things() == frozenset()


async def test_a_credential_that_is_withdrawn_is_told_apart_and_its_successor_read(
    found: OpenStackBackend, lab: OpenStack, tmp_path: Path
) -> None:
    lab.tenant.replace_credential()
    with pytest.raises(BackendUnavailableError) as caught:
        await found.things()
    assert not lets_in(caught.value)
    lab.tenant.write_clouds(tmp_path)
    assert await found.things() == frozenset()
