"""What a hub does when a real cloud takes no notice of it any more: its token, its credential, no answer.

The cloud's services believe a token that they have seen for minutes: so each of these is one that they have
not.
"""

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


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Iterator[OpenStack]:
    """A project of the lab's cloud."""
    with closing(OpenStack(labs.up("openstack"))) as found:
        yield found


@pytest.fixture
async def found(lab: OpenStack, tmp_path: Path) -> AsyncIterator[OpenStackBackend]:
    """A hub's backend in it."""
    made = backend(lab, tmp_path)
    yield made
    made.cloud.close()


async def test_a_token_that_is_over_is_replaced(found: OpenStackBackend, lab: OpenStack) -> None:
    token = await found.cloud.ask(lambda c: c.session.get_token())
    lab.cloud.withdraw(token)
    nova = await found.cloud.ask(lambda c: c.compute.get_endpoint())
    headers = {"X-Auth-Token": token}
    refused = await asyncio.to_thread(requests.get, f"{nova}/servers", headers=headers, timeout=60)
    assert refused.status_code == 401
    assert await found.cloud.ask(lambda c: c.session.get_token()) == token
    wanted = launch(lab)
    await found.begin(child(wanted), wanted)
    assert await found.cloud.ask(lambda c: c.session.get_token()) != token
    assert (await built(found, wanted.session_id)).phase.value == "running"
    await found.remove(wanted.session_id)
    assert await found.things() == frozenset()


async def test_a_credential_that_is_withdrawn_is_told_apart_and_its_successor_read(
    found: OpenStackBackend, lab: OpenStack, tmp_path: Path
) -> None:
    await found.cloud.ask(lambda c: c.session.get_token())
    lab.tenant.replace_credential()
    with pytest.raises(BackendUnavailableError) as caught:
        await found.things()
    assert not lets_in(caught.value)
    lab.tenant.write_clouds(tmp_path)
    assert await found.things() == frozenset()


async def test_a_cloud_that_hangs_is_away_and_holds_nobody_up(lab: OpenStack, tmp_path: Path) -> None:
    with closing(backend(lab, tmp_path, request_seconds=5).cloud) as cloud:
        assert await cloud.ask(lambda c: list(c.compute.servers())) == []
        with lab.cloud.hanging("nova"):
            asking = asyncio.ensure_future(cloud.ask(lambda c: list(c.compute.servers())))
            # Whoever asks another of its parts has an answer meanwhile.
            assert await cloud.ask(lambda c: list(c.network.networks()))
            assert not asking.done()
            with pytest.raises(BackendUnavailableError) as caught:
                await asking
        assert lets_in(caught.value)
        assert await cloud.ask(lambda c: list(c.compute.servers())) == []
