"""What a real cloud does to sessions: what machines are made of, how they fail, and that nothing is left."""

import asyncio
import json
import secrets
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.errors import BackendError, BackendUnavailableError, NoCapacityError
from jupyterhub_daas.spawners.backends.openstack import OpenStackBackend
from tests.spawners.backends.openstack import OpenStack
from tests.spawners.cloud_sessions import NAME, SIZES, backend, built, child, launch
from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.spawners.test_machine_callback import FOREIGN, SECRET, call_hub
from tests.support.labs import Labs
from tests.support.process_machines import given_to
from tests.support.waiting import wait_for, wait_until

# What a machine's agent would say, word by word.
ASK = """
import json, ssl, sys, urllib.error, urllib.request
url, ca, proof, body = json.load(sys.stdin)
headers = {"Authorization": "DaaS-Machine " + proof, "Content-Type": "application/json"}
request = urllib.request.Request(url, json.dumps(body).encode(), headers)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cadata=ca)).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def lab(labs: Labs) -> Iterator[OpenStack]:
    """A project of the lab's cloud."""
    with closing(OpenStack(labs.up("openstack"))) as found:
        yield found


@pytest.fixture(scope="module")
def running(lab: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal on it, with a size that no host has."""
    given = lab.settings()
    given["flavours"]["nowhere"] = {"title": "Nowhere", "cpus": 1, "memory": "128M"}
    given["profiles"]["works"]["flavours"] = ["small", "nowhere"]
    stack = lab.build_stack(tmp_path_factory.mktemp("openstack"), **given)
    try:
        yield Portal(stack.start(), things=lab.things, patience=lab.patience)
    finally:
        stack.stop()


@pytest.fixture
def portal(running: Portal) -> Iterator[Portal]:
    """The portal without any session, before the test and after it."""
    running.clean()
    yield running
    running.clean()


@pytest.fixture
async def seen(running: Portal, lab: OpenStack, tmp_path: Path) -> AsyncIterator[OpenStackBackend]:
    """The backend as the hub has it."""
    found = backend(lab, tmp_path, hub_id=running.hub_id)
    yield found
    found.cloud.close()


def refusal(portal: Portal, **more: str) -> str:
    """Start a session that cannot come up; return what the person reads."""
    return portal.refusal(NAME, {"proposal": PROPOSAL, "environment": "works", **more})


def start(portal: Portal) -> str:
    """Start a session that works; return its id."""
    assert portal.start(NAME).status_code in (201, 202)
    portal.wait_ready(NAME)
    return portal.session_id(NAME)


# --- what a machine is made of


def test_a_session_is_the_person_with_the_data_of_the_proposal(portal: Portal, lab: OpenStack) -> None:
    raw = portal.stack.folder / "data" / PROPOSAL / "raw"
    (raw / "spectrum.mca").write_text("counts")
    session_id = start(portal)
    assert portal.run(NAME, "id -un; cat ~/proposals/*/raw/spectrum.mca") == "amara\ncounts"
    assert "ok" not in portal.run(NAME, f"touch ~/proposals/{PROPOSAL}/raw/new 2>/dev/null && echo ok")
    # All that Nova holds of it, for everybody who may read there: where to ask, and a code that is used up.
    (server,) = lab.tenant.servers(portal.hub_id)
    config = json.loads(lab.cloud.user_data(server.id).removeprefix("#cloud-config\n"))
    (file,) = config["write_files"]
    assert set(json.loads(file["content"])) == {"url", "code", "ca"}
    assert set(config) == {"write_files", "runcmd"}
    assert server.metadata == {
        "daas-hub": portal.hub_id,
        "daas-session": session_id,
        "daas-person": "amara",
        "daas-image": lab.image.partition("@")[2],
    }
    token = portal.run(NAME, "echo $JUPYTERHUB_API_TOKEN").strip()
    assert token
    assert token not in lab.cloud.user_data(server.id)


async def test_a_machine_has_the_network_rights_of_its_role_and_instrument(
    lab: OpenStack, tmp_path: Path
) -> None:
    groups = {
        name: lab.tenant.cloud.network.create_security_group(name=name).id
        for name in ("all", "staff", "id21")
    }
    found = backend(
        lab,
        tmp_path,
        security_groups=["all"],
        role_groups={"staff": ["staff"], "admin": ["absent"]},
        instrument_groups={"id21": ["id21"], "id22": ["absent"]},
        placing="spread",
    )
    wanted = launch(lab, roles=(Role.STAFF,), instruments=("id21",))
    try:
        await found.begin(child(wanted), wanted)
        (port,) = lab.tenant.ports()
        assert set(port.security_group_ids) == set(groups.values())
        assert (await built(found, wanted.session_id)).phase.value == "running"
        (group,) = lab.tenant.cloud.compute.server_groups()
        assert len(group.member_ids) == 1
        lacking = launch(lab, roles=(Role.ADMIN,))
        with pytest.raises(BackendError, match="code openstack-group"):
            await found.begin(child(lacking), lacking)
    finally:
        await found.remove(wanted.session_id)
        found.cloud.close()


async def test_a_machine_on_a_volume_leaves_none(lab: OpenStack, tmp_path: Path) -> None:
    found, wanted = backend(lab, tmp_path, boot_from_volume=True), launch(lab)
    try:
        await found.begin(child(wanted), wanted)
        assert (await built(found, wanted.session_id)).phase.value == "running"
        (volume,) = lab.tenant.cloud.block_storage.volumes()
        assert (volume.status, volume.metadata["daas-session"]) == ("in-use", wanted.session_id)
        assert await found.things() == {wanted.session_id}
        await found.remove(wanted.session_id)
        assert not list(lab.tenant.cloud.block_storage.volumes())
        # One that a build left behind is found again by its mark, and goes as well.
        marks = {"daas-hub": found.hub_id, "daas-session": wanted.session_id}
        for metadata in (marks, {**marks, "daas-hub": "another"}):
            lab.tenant.cloud.block_storage.create_volume(size=1, metadata=metadata)
        assert await found.things() == {wanted.session_id}
        await found.remove(wanted.session_id)
        assert [each.metadata["daas-hub"] for each in lab.tenant.cloud.block_storage.volumes()] == ["another"]
    finally:
        found.cloud.close()


# --- what a cloud refuses


async def test_a_project_that_is_full_says_so(lab: OpenStack, tmp_path: Path) -> None:
    found, wanted = backend(lab, tmp_path), launch(lab, "absurd")
    with pytest.raises(NoCapacityError, match="set aside for sessions is full"):
        await found.begin(child(wanted), wanted)
    # The port that it had already is found, and goes.
    assert await found.things() == {wanted.session_id}
    await found.remove(wanted.session_id)
    assert await found.things() == frozenset()
    found.cloud.close()


async def test_a_network_without_an_address_says_so(lab: OpenStack, tmp_path: Path) -> None:
    network = lab.cloud.admin.network.create_network(
        name="full", project_id=lab.tenant.project.id, provider_network_type="local"
    )
    lab.cloud.admin.network.create_subnet(
        network_id=network.id,
        project_id=lab.tenant.project.id,
        ip_version=4,
        cidr="10.99.0.0/24",
        enable_dhcp=False,
        gateway_ip=None,
        allocation_pools=[{"start": "10.99.0.5", "end": "10.99.0.5"}],
    )
    taken = lab.tenant.cloud.network.create_port(network_id=network.id)
    found, wanted = backend(lab, tmp_path, network="full"), launch(lab)
    try:
        with pytest.raises(NoCapacityError, match="no address left"):
            await found.begin(child(wanted), wanted)
        assert await found.things() == frozenset()
    finally:
        lab.tenant.cloud.network.delete_port(taken)
        lab.cloud.admin.network.delete_network(network)
        found.cloud.close()


async def test_an_image_with_another_content_is_not_taken(lab: OpenStack, tmp_path: Path) -> None:
    found = backend(lab, tmp_path)
    changed = lab.image[:-8] + "00000000"
    for image, code in ((changed, "digest"), ("absent@sha512:" + "0" * 128, "image")):
        wanted = launch(lab, options={"image": image})
        with pytest.raises(BackendError, match=f"code openstack-{code}"):
            await found.begin(child(wanted), wanted)
    found.cloud.close()


# --- what goes wrong while a machine is built


def test_a_size_that_no_host_has_says_so(portal: Portal) -> None:
    with quiet_log(portal.stack):
        assert "no room for a machine of this size" in refusal(portal, flavour="nowhere")
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)


def test_a_build_that_fails_says_so(portal: Portal, lab: OpenStack) -> None:
    with quiet_log(portal.stack):
        with lab.tenant.steered(fail=True):
            assert "code openstack-build." in refusal(portal)
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)


def test_a_machine_is_deleted_while_it_is_built(portal: Portal, lab: OpenStack) -> None:
    with quiet_log(portal.stack), lab.tenant.steered(boot=15):
        portal.start(NAME)
        wait_until(lambda: lab.tenant.servers(portal.hub_id), portal.patience, what="it is built")
        portal.stop(NAME)
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)


def test_a_cloud_that_loses_a_machine_says_so(portal: Portal, lab: OpenStack) -> None:
    with lab.tenant.steered(boot=60):
        portal.start(NAME)
        wait_until(lambda: lab.tenant.servers(portal.hub_id), portal.patience, what="it is built")
        (server,) = lab.tenant.servers(portal.hub_id)
        wait_until(
            lambda: lab.tenant.cloud.compute.get_server(server.id).task_state == "spawning",
            portal.patience,
            what="it is with its host",
        )
        lab.cloud.kill("nova")
        lab.cloud.mend()
    path = f"/users/amara/servers/{NAME}/progress"
    with portal.stack.admin_stream(path, seconds=portal.patience) as lines:
        events = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert "code openstack-build-lost" in events[-1]["message"]
    wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)


def test_a_machine_that_never_reports_is_given_up(portal: Portal, lab: OpenStack) -> None:
    with quiet_log(portal.stack):
        with lab.tenant.steered(dead=True):
            message = portal.refusal(NAME, {"proposal": PROPOSAL, "environment": "never"})
        assert "never reported" in message
        wait_until(lambda: not portal.living() and not portal.held("amara"), portal.patience)


# --- a machine that calls against the rules


def alarms(portal: Portal, session_id: str) -> list[tuple[str, str]]:
    """Return reason and address of a session's alarms."""
    answer = portal.stack.call("accounts", "GET", "audit", params={"action": "alarm"})
    found = [each for each in answer.json()["items"] if each["request_id"] == session_id]
    return sorted((each["reason"], each["actor"]["name"]) for each in found)


def test_whoever_asks_again_for_a_session_gets_nothing_and_staff_is_told(
    portal: Portal, lab: OpenStack
) -> None:
    session_id = start(portal)
    (server,) = lab.tenant.servers(portal.hub_id)
    place = lab.cloud.folder / "guests" / server.id
    given = given_to(place)
    # From elsewhere, and from the machine itself, whose agent is started once more.
    status, _ = call_hub(given, "session", given["code"], {"secret": FOREIGN}, lab.cloud.hub_ip)
    assert status == 403
    again = lab.cloud.inside(
        server.id,
        "cat >/run/daas/bootstrap.json && exec /usr/bin/python3 -I /opt/daas/daas_agent.py",
        given=json.dumps(given),
    )
    assert again.returncode == 1
    assert "the hub answered 403" in again.stderr
    assert portal.run(NAME, "echo goes on") == "goes on\n"
    (address,) = [each["addr"] for entries in server.addresses.values() for each in entries]
    told = sorted(("code_replayed", each) for each in (lab.cloud.hub_ip, address))
    wait_until(lambda: alarms(portal, session_id) == told, what="staff is told")


def machine_that_is_up(portal: Portal, lab: OpenStack) -> str:
    """Return the id of a server whose machine has booted; empty if there is none."""
    for each in lab.tenant.servers(portal.hub_id):
        console = lab.cloud.folder / "guests" / each.id / "console.log"
        if console.exists() and "is up" in console.read_text():
            return str(each.id)
    return ""


def test_a_machine_that_reports_twice_has_one_session_in_one_place(portal: Portal, lab: OpenStack) -> None:
    with lab.tenant.steered(silent=True):
        portal.start(NAME)
        machine = wait_until(lambda: machine_that_is_up(portal, lab), portal.patience, what="it is up")
    given = given_to(lab.cloud.folder / "guests" / machine)

    def ask(what: str, proof: str, **body: object) -> int:
        asked = json.dumps([given["url"] + what, given["ca"], proof, body])
        return int(lab.cloud.inside(machine, f"/usr/bin/python3 -c {shlex.quote(ASK)}", given=asked).stdout)

    def places() -> set[str]:
        routes = portal.stack.admin("GET", "/proxy").json()
        return {each["target"] for path, each in routes.items() if path.startswith("/user/amara/")}

    assert wait_until(lambda: ask("session", given["code"], secret=SECRET) == 200, what="it has its session")
    lab.cloud.inside(machine, "setsid /usr/bin/python3 -m http.server 8900 >/dev/null 2>&1 </dev/null &")
    assert [ask("ready", SECRET, port=8900) for _ in range(2)] == [200, 200]
    portal.wait_ready(NAME)
    (place,) = places()
    assert place.endswith(":8900")
    # Another port, and whoever says it from elsewhere, change nothing.
    assert ask("ready", SECRET, port=8901) == 409
    assert call_hub(given, "ready", SECRET, {"port": 8900}, lab.cloud.hub_ip)[0] == 403
    assert places() == {place}
    told = [("foreign_address", lab.cloud.hub_ip)]
    wait_until(lambda: alarms(portal, portal.session_id(NAME)) == told, what="staff is told")


# --- a cloud that is ill


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_sessions_run_on_without_the_cloud_s_keystone(portal: Portal, lab: OpenStack, how: str) -> None:
    session_id = start(portal)
    ill = lab.cloud.without("keystone") if how == "away" else lab.cloud.hanging("keystone")
    with ill:
        assert portal.run(NAME, "echo goes on") == "goes on\n"
        assert portal.model(NAME)["ready"]
    wait_until(portal.is_settled, portal.patience, what="hub, cloud and quotas agree")
    assert portal.living() == {session_id}


# --- what is left behind


def test_what_a_hub_left_behind_goes_and_nothing_of_others(portal: Portal, lab: OpenStack) -> None:
    network = lab.tenant.cloud.network
    net = network.find_network(lab.lab_variables["DAAS_TEST_OS_NETWORK"])
    session_id, made = secrets.token_hex(8), {}
    for hub_id in (portal.hub_id, "another"):
        mark = f"daas-{hub_id}"
        made[hub_id] = network.create_port(
            network_id=net.id, name=f"{mark}-{session_id}", description=mark
        ).id
    wait_until(lambda: made[portal.hub_id] not in {each.id for each in lab.tenant.ports()}, portal.patience)
    assert made["another"] in {each.id for each in lab.tenant.ports()}
    network.delete_port(made["another"])


# --- what pages show


async def test_counts_what_is_left_of_the_project(
    seen: OpenStackBackend, portal: Portal, lab: OpenStack
) -> None:
    flavours = [Flavour(key=key, title=key, cpus=1, memory=1 << 27) for key in (*SIZES, "absent")]

    async def count() -> dict[str, tuple[bool, int | None]]:
        return {each.flavour: (each.fits, each.free) for each in await seen.resources(flavours)}

    async def counted() -> dict[str, tuple[bool, int | None]]:
        # Nova may still believe that its keystone is away.
        with suppress(BackendUnavailableError):
            return await count()
        return {}

    empty = await wait_for(counted, 60, what="the cloud answers")
    # Of 60 cpus and 30 machines; what no host has, no limit tells.
    assert (empty["small"], empty["medium"]) == ((True, 30), (True, 30))
    assert (empty["absurd"], empty["absent"]) == ((False, 0), (False, 0))
    await asyncio.to_thread(start, portal)
    assert (await count())["small"] == (True, 29)


async def test_the_console_of_a_machine_is_its_log(seen: OpenStackBackend, portal: Portal) -> None:
    session_id = await asyncio.to_thread(start, portal)
    assert "asking the hub for the session" in await seen.read_log(session_id, lines=50)
