"""What becomes of answers that only an ill cloud gives: lost, late, too many, none."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError
from jupyterhub_daas.spawners.backends.names import thing_name
from jupyterhub_daas.spawners.backends.openstack.cloud import Cloud, Refused, lets_in
from jupyterhub_daas.spawners.backends.openstack.options import OpenStackOptions
from jupyterhub_daas.spawners.backends.openstack.project import Project
from jupyterhub_daas.spawners.backends.openstack.server import HUB, SESSION, tag_of
from tests.support.fake_openstack import FakeOpenStack
from tests.support.waiting import wait_for

LIST = "GET /compute/servers/detail"
MAKE = "POST /compute/servers"
SESSION_ID = "0123456789abcdef"


@pytest.fixture
async def project(cloud_options: dict[str, Any]) -> AsyncIterator[Project]:
    """A hub's project in it."""
    options = OpenStackOptions(**cloud_options)
    found = Project(Cloud(options), options, "hub")
    yield found
    found.cloud.close()


async def make(project: Project) -> None:
    """Make a machine."""
    name, mark = thing_name("hub", SESSION_ID), tag_of("hub")
    port, _ = await project.make_port({"name": name, "description": mark, "network_id": "n"})
    await project.make_server(
        {
            "name": name,
            "flavor_id": "f",
            "image_id": "i",
            "networks": [{"port": port}],
            "metadata": {HUB: "hub", SESSION: SESSION_ID},
            "tags": [mark],
        }
    )


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "1"}),
        (413, {"Retry-After": "1"}),
        (500, {}),
        (502, {}),
        (503, {}),
        (504, {}),
    ],
)
async def test_what_passes_is_no_answer(
    project: Project, fake: FakeOpenStack, status: int, headers: dict[str, str]
) -> None:
    fake.answer_wrongly(LIST, status, words="words of the cloud", headers=headers)
    with pytest.raises(BackendUnavailableError) as caught:
        await project.machines()
    assert "words of the cloud" not in caught.value.message
    assert lets_in(caught.value)
    assert await project.machines() == []


@pytest.mark.parametrize("status", [400, 403, 409, 413])
async def test_a_refusal_has_its_status_and_its_words(
    project: Project, fake: FakeOpenStack, status: int
) -> None:
    fake.answer_wrongly(LIST, status, words="words of the cloud")
    with pytest.raises(Refused) as caught:
        await project.machines()
    assert caught.value.status == status


async def test_a_cloud_that_says_nothing_is_away_and_holds_nobody_up(
    project: Project, fake: FakeOpenStack
) -> None:
    fake.hang(LIST)
    asking = asyncio.ensure_future(project.machines())
    # The loop goes on meanwhile, and other questions are answered.
    assert await project._ports() == []
    assert not asking.done()
    with pytest.raises(BackendUnavailableError):
        await asking


async def test_a_cloud_that_is_away_comes_back(project: Project, fake: FakeOpenStack) -> None:
    fake.stop()
    with pytest.raises(BackendUnavailableError):
        await project.machines()
    fake.start()
    assert await project.machines() == []


async def test_a_token_that_lapsed_is_replaced(project: Project, fake: FakeOpenStack) -> None:
    await project.machines()
    assert fake.logins == 1
    fake.let_tokens_lapse()
    assert await project.machines() == []
    assert fake.logins == 2


async def test_a_credential_that_lapsed_is_told_apart_and_read_anew(
    project: Project, fake: FakeOpenStack, tmp_path: Path
) -> None:
    await project.machines()
    fake.secret = "another"
    fake.let_tokens_lapse()
    with pytest.raises(BackendUnavailableError) as caught:
        await project.machines()
    assert not lets_in(caught.value)
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(clouds.read_text().replace("right", "another"))
    assert await project.machines() == []


@pytest.mark.parametrize("request_kind", [MAKE, "POST /network/v2.0/ports"])
async def test_an_answer_that_was_lost_makes_no_second_machine(
    project: Project, fake: FakeOpenStack, request_kind: str
) -> None:
    fake.lose(request_kind)
    await make(project)
    assert (len(fake.servers), len(fake.ports)) == (1, 1)
    assert await project.sessions() == {SESSION_ID}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_start_waits_for_an_ill_cloud(project: Project, fake: FakeOpenStack, status: int) -> None:
    fake.answer_wrongly(MAKE, status, times=2)
    await make(project)
    assert len(fake.servers) == 1


async def test_an_end_that_the_cloud_did_not_take_is_asked_for_again(
    project: Project, fake: FakeOpenStack
) -> None:
    await make(project)
    (identity,) = fake.servers
    fake.answer_wrongly(f"DELETE /compute/servers/{identity}", 503)
    with pytest.raises(BackendUnavailableError):
        await project.remove(SESSION_ID)
    (port,) = fake.ports
    # What is on its way out already is refused.
    fake.answer_wrongly(f"DELETE /network/v2.0/ports/{port}", 403)
    await project.remove(SESSION_ID)
    assert (fake.servers, fake.ports) == ({}, {})


async def test_nothing_of_others_is_seen_or_removed(project: Project, fake: FakeOpenStack) -> None:
    other = {HUB: "another", SESSION: SESSION_ID}
    fake.servers["theirs"] = {
        "id": "theirs",
        "name": "theirs",
        "status": "ACTIVE",
        "metadata": other,
        "port": "",
    }
    fake.ports["theirs"] = {
        "id": "theirs",
        "name": "daas-hub-",
        "description": tag_of("hub"),
        "fixed_ips": [],
    }
    assert await project.sessions() == frozenset()
    await project.remove(SESSION_ID)
    assert "theirs" in fake.servers
    assert "theirs" in fake.ports


async def test_a_start_that_is_cancelled_is_over_when_its_last_request_is(
    project: Project, fake: FakeOpenStack
) -> None:
    asking = asyncio.ensure_future(make(project))
    await wait_for(lambda: fake.ports, what="the port is there")
    asking.cancel()
    await asyncio.wait({asking})
    made = len(fake.servers)
    await project.machines()
    assert len(fake.servers) == made


def test_an_access_that_cannot_be_read_ends_the_hub_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "clouds.yaml"
    path.write_text("clouds: {}")
    options = OpenStackOptions(
        cloud="lab", clouds_file=str(path), hub_url="https://portal.example/hub/", network="daas"
    )
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Cloud(options).region()
