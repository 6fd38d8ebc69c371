"""What a container of Podman is held to, shown from inside one that tries to take more."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError, SessionLostError
from jupyterhub_daas.spawners.backends.podman import PodmanBackend
from jupyterhub_daas.spawners.backends.podman.api import Refused, join_log
from jupyterhub_daas.spawners.backends.podman.backend import Ended
from jupyterhub_daas.spawners.backends.podman.container import build_container
from jupyterhub_daas.spawners.backends.podman.options import PodmanOptions, PodmanProfileOptions
from jupyterhub_daas.spawners.backends.podman.session import PodmanSession
from tests.spawners.backends.podman import Podman, held
from tests.spawners.portal import PROPOSAL, Portal, quiet_log
from tests.support.labs import Labs
from tests.support.waiting import wait_until

NAME = "brave-curie"
WORKS = {"proposal": PROPOSAL, "environment": "works"}
CGROUP = "/sys/fs/cgroup"
SPINS = (
    "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
)
EATS = "import sys; sys.stdout.write(str(len(bytearray(600 << 20))))"


@pytest.fixture(scope="module")
def podman(labs: Labs) -> Iterator[Podman]:
    """The lab, whose service nobody kills meanwhile."""
    with held(alone=False):
        yield Podman(labs.up("podman"))


@pytest.fixture(scope="module")
def portal(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with sessions of Amara's and Bruno's that run already."""
    settings = podman.settings()
    absent = {**settings["profiles"]["works"], "environment": "absent"}
    absent["options"] = {**absent["options"], "image": "localhost/nobody-made-this:1"}
    settings["environments"]["absent"] = {"title": "Absent", "kind": "jupyter"}
    settings["profiles"]["absent"] = absent
    stack = podman.build_stack(tmp_path_factory.mktemp("podman"), **settings)
    for part in ("raw", "processed"):
        # Open to everybody: what keeps a session from writing is the mount.
        (stack.folder / "data" / PROPOSAL / part).chmod(0o777)
    (stack.folder / "data" / PROPOSAL / "raw" / "spectrum.mca").write_text("counts\n")
    try:
        running = Portal(stack.start(), ("amara", "bruno"), things=podman.things, patience=podman.patience)
        for person in ("amara", "bruno"):
            assert running.start(NAME, WORKS, person).status_code in (201, 202)
            running.wait_ready(NAME, person)
        yield running
    finally:
        stack.stop()


def shell(portal: Portal, command: str, person: str = "amara") -> str:
    """Run a command in a session; return what it and its faults said."""
    return portal.run(NAME, f"({command}) 2>&1", person)


def test_memory_is_a_limit(portal: Portal) -> None:
    limits = shell(portal, f"cat {CGROUP}/memory/memory.limit_in_bytes {CGROUP}/memory.max 2>/dev/null")
    assert limits.split() == [str(256 << 20)]
    assert "ended with 137" in shell(portal, f"python3 -c '{EATS}'; echo ended with $?")
    # The session itself goes on.
    assert shell(portal, "echo still here") == "still here\n"


def test_cpus_are_a_limit(portal: Portal) -> None:
    # A quarter of a cpu for two seconds, and what a period may leave over.
    assert float(shell(portal, f"python3 -c '{SPINS}'")) < 0.8


def test_processes_are_a_limit(portal: Portal) -> None:
    assert shell(portal, f"cat {CGROUP}/pids/pids.max {CGROUP}/pids.max 2>/dev/null").split() == ["4096"]


def test_a_session_is_its_person_without_any_privilege(portal: Portal) -> None:
    person = portal.stack.call("proposals", "GET", "people/amara").json()
    assert shell(portal, "id -u; id -g").split() == [str(person["uid"]), str(person["gid"])]
    assert shell(portal, "id -un; pwd").split() == ["amara", "/home/amara"]
    status = dict(line.split(":\t", 1) for line in shell(portal, "cat /proc/self/status").splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert "Permission denied" in shell(portal, "cat /etc/shadow")


def test_the_proposals_data_is_there_and_read_only_where_it_is_said(portal: Portal) -> None:
    folder = f"~/proposals/{PROPOSAL}"
    assert shell(portal, f"cat {folder}/raw/spectrum.mca") == "counts\n"
    assert "Read-only file system" in shell(portal, f"echo x >{folder}/raw/spectrum.mca")
    assert "Read-only file system" in shell(portal, f"touch {folder}/raw/new")
    shell(portal, f"echo fit >{folder}/processed/fit.txt")
    assert shell(portal, f"cat {folder}/processed/fit.txt", "bruno") == "fit\n"


def test_one_person_sees_nothing_of_the_other(portal: Portal) -> None:
    shell(portal, "echo secret >~/notes.txt")
    assert "No such file" in shell(portal, "cat /home/amara/notes.txt", "bruno")
    assert shell(portal, "ls /home", "bruno") == "bruno\n"
    assert "amara" not in shell(portal, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep USER", "bruno")


def test_no_secret_is_among_the_words_of_a_process(portal: Portal, podman: Podman) -> None:
    token = shell(portal, "echo $JUPYTERHUB_API_TOKEN").strip()
    assert token
    assert token not in shell(portal, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")


def test_the_home_stays_and_the_log_can_be_read_when_a_session_has_gone(
    portal: Portal, podman: Podman
) -> None:
    shell(portal, "echo kept >~/kept.txt; echo the last words >/proc/1/fd/1", "bruno")
    token = portal.stack.token("bruno")
    with quiet_log(portal.stack):
        portal.stop(NAME, "bruno")
    answer = requests.get(
        f"{portal.stack.url}/hub/daas/sessions/bruno/{NAME}/log",
        headers={"Authorization": f"token {token}"},
        timeout=30,
    )
    assert answer.json()["text"] == "the last words"
    assert len(podman.things(portal.hub_id)) == 1
    assert portal.start(NAME, WORKS, "bruno").status_code in (201, 202)
    portal.wait_ready(NAME, "bruno")
    assert shell(portal, "cat ~/kept.txt", "bruno") == "kept\n"


def test_an_image_that_is_not_there_is_told_with_a_code(portal: Portal) -> None:
    said = portal.refusal("calm-bohr", {**WORKS, "environment": "absent"})
    assert "The software of this environment is not on the machine" in said
    assert "code podman-image" in said
    wait_until(lambda: len(portal.living()) == 2, portal.patience)


# --- without a hub

SIZES = {
    "small": Flavour(key="small", title="Small", cpus=0.25, memory=1 << 28),
    "vast": Flavour(key="vast", title="Vast", cpus=0.25, memory=1 << 50),
    "gpu": Flavour(key="gpu", title="GPU", cpus=0.25, memory=1 << 28, gpus=1),
}


def backend(**options: Any) -> PodmanBackend:
    """Return the backend with these options."""
    return PodmanBackend(hub_id="cafe", shared_account=False, options=options)


async def test_says_what_is_free(podman: Podman) -> None:
    found = {
        each.flavour: each
        for each in await backend(socket=str(podman.podman.socket)).resources(tuple(SIZES.values()))
    }
    assert found["small"].fits
    assert found["small"].free
    assert (found["vast"].fits, found["vast"].reason) == (False, "This size is larger than the machine.")
    assert (found["gpu"].fits, found["gpu"].reason) == (False, "Sessions on this machine get no GPU.")


async def test_a_podman_that_is_away_is_told_from_one_without_the_session() -> None:
    with pytest.raises(BackendUnavailableError):
        await backend(socket="/nowhere/podman.sock").things()


@pytest.mark.parametrize(
    ("status", "words"), [(404, "not found"), (500, "c0ffee does not exist in database: no such container")]
)
async def test_a_container_that_is_being_removed_is_not_there(
    monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise Refused(status, words)

    monkeypatch.setattr("jupyterhub_daas.spawners.backends.podman.api.Podman.ask", refuse)
    assert await backend().look("0123456789abcdef") is None
    await backend().remove("0123456789abcdef")


class Looks:
    """A backend that says in turn what it is told to, the last of it for ever."""

    def __init__(self, *answers: str | Ended | None) -> None:
        self._answers = list(answers)

    async def look(self, session_id: str) -> str | Ended | None:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
async def another() -> AsyncIterator[int]:
    """The port of somebody else who listens on this machine."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def starting(looks: Looks, port: int) -> PodmanSession:
    """Return a session whose container was just begun."""
    user = SimpleNamespace(name="amara")
    return PodmanSession(backend=looks, session_id="0123456789abcdef", port=port, user=user)


async def test_an_address_that_went_to_another_container_is_not_the_sessions(another: int) -> None:
    ended = Ended(3, "The session ended while it was starting (exit status 3).")
    with pytest.raises(SessionLostError, match="exit status 3"):
        await starting(Looks("127.0.0.1", ended), another)._wait_until_it_listens()


async def test_a_container_without_an_address_does_not_listen_on_this_machine(another: int) -> None:
    ended = Ended(3, "The session ended while it was starting (exit status 3).")
    with pytest.raises(SessionLostError, match="exit status 3"):
        await starting(Looks("", ended), another)._wait_until_it_listens()


async def test_a_session_is_where_its_container_says(another: int) -> None:
    assert (
        await starting(Looks("127.0.0.1"), another)._wait_until_it_listens() == f"http://127.0.0.1:{another}"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"image": "docker.io/x:latest"}, "pinned by its digest", id="tag"),
        pytest.param({"image": "x@sha256:12"}, "pinned by its digest", id="half a digest"),
        pytest.param({}, "image", id="none"),
        pytest.param({"image": "x", "allow_tag": True, "privileged": True}, "privileged", id="unknown"),
    ],
)
def test_refuses_a_profile_at_the_start_of_the_hub(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PodmanProfileOptions.model_validate(options)


@pytest.mark.parametrize("options", [{"socket": "podman.sock"}, {"homes": "/srv/../etc"}, {"network": "a b"}])
def test_refuses_options_at_the_start_of_the_hub(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"DaasSpawner\.backends\.podman"):
        backend(**options)


def test_asks_for_no_more_than_a_session_needs() -> None:
    launch = Launch.model_validate(
        {
            "session_id": "0" * 16,
            "session": NAME,
            "person": {"username": "amara", "uid": 20001, "gid": 20002},
            "proposal": PROPOSAL,
            "environment": {"key": "jupyter", "title": "Jupyter", "kind": "jupyter"},
            "backend": "podman",
            "profile": "jupyter",
            "flavour": SIZES["small"],
            "mounts": [{"source": "/data/raw", "target": "proposals/x/raw", "mode": "ro"}],
        }
    )
    asked = build_container(
        launch,
        hub_id="cafe",
        image="x",
        command=("run",),
        options=PodmanOptions(homes="/srv/homes"),
        environment={},
        gids=(7, 5, 7),
    )
    assert (asked["user"], asked["groups"], asked["cap_drop"]) == ("20001:20002", ["5", "7"], ["all"])
    assert asked["no_new_privileges"]
    assert not asked["privileged"]
    assert asked["resource_limits"] == {
        "pids": {"limit": 4096},
        "cpu": {"period": 100_000, "quota": 25_000},
        "memory": {"limit": 1 << 28, "swap": 1 << 28},
    }
    assert [(each["source"], each["destination"], "ro" in each["options"]) for each in asked["mounts"]] == [
        ("/srv/homes/amara", "/home/amara", False),
        ("/data/raw", "/home/amara/proposals/x/raw", True),
    ]
    assert all({"nosuid", "nodev"} <= {*each["options"]} for each in asked["mounts"])
    assert "volumes" not in asked


def test_reads_a_log_in_its_frames() -> None:
    frames = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x04 two\x01\0\0\0\0\0\0\x09cut"
    assert join_log(frames) == "one twocut"
    assert join_log(b"") == ""
