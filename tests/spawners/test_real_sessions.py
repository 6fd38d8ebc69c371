"""JupyterLab and a desktop as people get them: what is in them, and that stopping leaves nothing of them."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.spawners.portal import PROPOSAL, Portal, is_alive
from tests.support.waiting import wait_for, wait_until

NAME = "brave-curie"
XVNC = ("Xvnc", "Xtigervnc")
ESCAPES = "setsid nohup sleep 611 >/dev/null 2>&1 & (env -i setsid sleep 612 &) ; sleep 613 &\r"


class Person:
    """Amara's browser, as far as it needs no page."""

    def __init__(self, portal: Portal) -> None:
        self.url = f"{portal.stack.url}/user/amara/{NAME}/"
        self.session = aiohttp.ClientSession(
            headers={"Authorization": f"token {portal.stack.token('amara')}"},
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def get(self, path: str) -> Any:
        """Get JSON from the session."""
        async with self.session.get(self.url + path) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def post(self, path: str, body: object = None) -> Any:
        """Post JSON to the session."""
        async with self.session.post(self.url + path, json=body) as answer:
            answer.raise_for_status()
            return await answer.json()

    def socket(self, path: str, **given: Any) -> Any:
        """Open a websocket of the session."""
        return self.session.ws_connect(self.url + path, **given)


def start(portal: Portal, environment: str) -> None:
    """Start a session and wait until it can be entered."""
    answer = portal.start(NAME, {"proposal": PROPOSAL, "environment": environment})
    assert answer.status_code in (201, 202), answer.text
    portal.wait_ready(NAME, seconds=90)


def command(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def commands(portal: Portal) -> dict[int, str]:
    """Return the command line of each process of the session."""
    return {pid: command(pid) for pid in portal.family(portal.session_id(NAME))}


def one(portal: Portal, *programs: str) -> int:
    """Return the process that runs one of these programs, 0 if none does."""
    return next(
        (pid for pid, line in commands(portal).items() if Path(line.split(" ")[0]).name in programs), 0
    )


def listening_ports(pids: set[int]) -> set[int]:
    """Return the TCP ports on which any of these processes listens."""
    entries = (entry for pid in pids for entry in Path(f"/proc/{pid}/fd").iterdir())
    sockets = {str(entry.readlink()) for entry in entries if entry.is_symlink()}
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


async def test_jupyterlab_has_the_data_and_leaves_nothing(portal: Portal) -> None:
    data = portal.stack.folder / "data" / PROPOSAL / "raw" / "spectrum.mca"
    data.write_text("1 2 3\n")
    start(portal, "jupyter")
    person = Person(portal)
    async with person.session:
        async with person.session.get(person.url + "lab") as page:
            assert "JupyterLab" in await page.text()
        listed = await person.get(f"api/contents/proposals/{PROPOSAL}")
        assert {each["name"] for each in listed["content"]} == {"raw", "processed"}
        content = await person.get(f"api/contents/proposals/{PROPOSAL}/raw/spectrum.mca?content=1&type=file")
        assert content["content"] == "1 2 3\n"
        kernel = await person.post("api/kernels")
        terminal = await person.post("api/terminals")
        async with person.socket(f"terminals/websocket/{terminal['name']}") as socket:
            await socket.send_str(json.dumps(["stdin", ESCAPES]))
            await wait_for(
                lambda: all(
                    any(f"sleep {n}" in line for line in commands(portal).values()) for n in (611, 612, 613)
                ),
                20,
                what="the terminal has started its processes",
            )
        assert kernel["id"]
    family = portal.family(portal.session_id(NAME))
    assert len(family) >= 8
    portal.stop(NAME)
    assert [pid for pid in family if is_alive(pid)] == []
    assert portal.held("amara") == {}


async def test_a_desktop_opens_no_port_and_leaves_nothing(portal: Portal) -> None:
    start(portal, "desktop")
    person = Person(portal)
    async with person.session:
        async with person.session.get(person.url + "desktop/") as page:
            assert page.status == 200
        async with person.socket("desktop-websockify/", protocols=("binary",)) as socket:
            assert (await asyncio.wait_for(socket.receive(), 30)).data.startswith(b"RFB 003")
            await wait_for(
                lambda: one(portal, "xterm") and one(portal, "openbox"), 20, what="the desktop is up"
            )
            family = portal.family(portal.session_id(NAME))
            assert listening_ports(set(family)) == {portal.model(NAME)["state"]["child"]["port"]}
    assert_desktop_is_clean(portal)
    locks = display_locks(one(portal, *XVNC))
    assert locks
    portal.stop(NAME)
    assert [pid for pid in family if is_alive(pid)] == []
    # Xvnc was let leave in order: the number of its display is free again.
    assert [lock for lock in locks if lock.exists()] == []
    wait_until(lambda: portal.held("amara") == {}, 10)


def assert_desktop_is_clean(portal: Portal) -> None:
    """Look at the programs on the desktop: in the proposal's folder, without the session's tokens."""
    folder = portal.stack.folder / "state" / "homes" / "amara" / "proposals" / PROPOSAL
    assert Path(f"/proc/{one(portal, 'xterm')}/cwd").resolve() == folder.resolve()
    for pid in (one(portal, "xterm"), one(portal, "openbox")):
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "DAAS_PROPOSAL" in environment
        assert "JUPYTERHUB_API_TOKEN" not in environment
        assert "JPY_API_TOKEN" not in environment


def display_locks(xvnc: int) -> list[Path]:
    """Return the lock files of an X server's display."""
    return [path for path in Path("/tmp").glob(".X*-lock") if path.read_text().strip() == str(xvnc)]


async def test_a_desktop_is_the_same_after_the_hub_was_killed(portal: Portal) -> None:
    start(portal, "desktop")
    person = Person(portal)
    async with person.session, person.socket("desktop-websockify/", protocols=("binary",)) as socket:
        await asyncio.wait_for(socket.receive(), 30)
        await wait_for(lambda: one(portal, "xterm"), 20, what="the desktop is up")
        before = one(portal, *XVNC), one(portal, "xterm")
        assert all(before)
        portal.stack.kill_hub()
        await socket.send_bytes(b"RFB 003.008\n")
        assert (await asyncio.wait_for(socket.receive(), 30)).type is aiohttp.WSMsgType.BINARY
    portal.stack.start_hub()
    portal.wait_ready(NAME)
    assert (one(portal, *XVNC), one(portal, "xterm")) == before
