"""A demo as a person starts it: `scripts/demo` as a process, and what it leaves in the process table."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import requests

from tests.support.ports import free_port
from tests.support.sign_in import browser, sign_in_with_account
from tests.support.stack import node_modules
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "demo"
VENV = Path(sys.prefix).resolve()
START_SECONDS = 120.0
SESSION = "brave-bragg"


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a demo that need not install anything."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DAAS_", "XDG_"))}
    ready = {"DAAS_VENV": str(VENV), "DAAS_NODE_MODULES": str(node_modules().resolve())}
    return kept | ready | changes


def start_and_wait(changes: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a demo that is expected to end by itself."""
    return subprocess.run(
        [str(SCRIPT)], env=environment(**changes), capture_output=True, text=True, timeout=120, check=False
    )


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """The last thing said is one line of ours with these words, and nothing looks like a crash."""
    said = done.stdout + done.stderr
    line = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
    assert done.returncode != 0
    assert "Traceback" not in said
    assert "line " not in done.stderr, "a message of the shell itself"
    assert line.startswith("demo: "), said
    for word in words:
        assert word in line


class RunningDemo:
    """One demo, its output and its processes."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = state.parent / f"{state.name}.output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(SCRIPT)],
                env=environment(DAAS_STATE=str(state), DAAS_PORT=str(self.port)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        """Return what the person has seen."""
        return self.output.read_text()

    def wait_until_up(self) -> "RunningDemo":
        """Wait for the welcome."""

        def welcomed() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the demo ended:\n{self.printed()}")
            return "What it keeps is in" in self.printed()

        wait_until(welcomed, START_SECONDS, what="the demo is up")
        return self

    def logins(self) -> dict[str, tuple[str, str]]:
        """Return the passwords that the demo printed: with UmbrellaID, and with a facility account."""
        return {
            match[1]: (match[2], match[3])
            for match in re.finditer(r"^  (\w+)\s+([a-z]+(?:-\w+){3})\s+(\S+)", self.printed(), re.MULTILINE)
        }

    def processes(self) -> dict[int, str]:
        """Return all living processes that know this demo's folder, with their commands."""
        marks = (f"{self.state}/", f"DAAS_STATE={self.state}\0")
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command, variables = (
                    (folder / "cmdline").read_text(),
                    (folder / "environ").read_text(errors="replace"),
                )
                place = str((folder / "cwd").readlink()) + "/"
            except OSError:
                continue
            if any(mark in text for mark in marks for text in (command, variables, place)):
                found[int(folder.name)] = command.replace("\0", " ")
        return found

    def runner(self) -> int:
        """Return the process below the guardian, which is the one that was started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def start_desktop(self) -> str:
        """Start a desktop as amara and look at it, which brings its X server up; return its name."""
        session = browser()
        assert sign_in_with_account(session, self.url, "amara", self.logins()["amara"][1]).status_code == 302
        session.get(f"{self.url}/services/portal/proposals", timeout=30)
        headers = {"Authorization": f"token {hub_token(session, self.url)}"}
        accept_conditions(self.url, headers)
        start_session(self.url, headers)
        address = f"{self.url}/user/amara/{SESSION}/desktop-websockify/"
        asyncio.run(look_at_desktop(address, headers))
        wait_until(lambda: self.runs("openbox"), 30, what="the desktop's window manager runs")
        return SESSION

    def runs(self, program: str) -> bool:
        """Tell whether one of the demo's processes is this program."""
        return any(program in command for command in self.processes().values())

    def ask_to_stop(self, signum: int = signal.SIGINT) -> int:
        """Send a signal to the process that the person started; return its exit status."""
        self.process.send_signal(signum)
        return self.process.wait(timeout=90)

    def end(self) -> None:
        """End the demo however far it has come."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()


def hub_token(session: requests.Session, url: str) -> str:
    """Return a fresh API token of the person who is signed in."""
    session.get(f"{url}/hub/token", timeout=30)
    xsrf = next(each.value for each in session.cookies if each.name == "_xsrf" and each.path == "/hub/")
    answer = session.post(
        f"{url}/hub/api/users/amara/tokens",
        json={"note": "test"},
        headers={"X-XSRFToken": str(xsrf)},
        timeout=30,
    )
    answer.raise_for_status()
    return str(answer.json()["token"])


def accept_conditions(url: str, headers: Mapping[str, str]) -> None:
    """Accept the conditions of use that are in force."""
    accounts = f"{url}/services/accounts/api/v1"
    version = requests.get(f"{accounts}/conditions", headers=headers, timeout=30).json()["version"]
    requests.put(
        f"{accounts}/people/amara/acceptance", json={"version": version}, headers=headers, timeout=30
    ).raise_for_status()


def start_session(url: str, headers: Mapping[str, str]) -> None:
    """Start a desktop through the hub's REST API and wait until it answers."""
    options = {"proposal": "20180301", "environment": "desktop"}
    place = f"{url}/hub/api/users/amara/servers/{SESSION}"
    answer = requests.post(place, json=options, headers=headers, timeout=60)
    assert answer.status_code in (201, 202), answer.text

    def ready() -> bool:
        servers = requests.get(f"{url}/hub/api/users/amara", headers=headers, timeout=30).json()["servers"]
        return bool(servers.get(SESSION, {}).get("ready"))

    wait_until(ready, 60, what="the session is ready")


async def look_at_desktop(address: str, headers: Mapping[str, str]) -> None:
    """Connect as the page of a desktop does, until the X server greets us."""
    async with aiohttp.ClientSession(headers=headers) as client:
        for _ in range(20):
            async with client.ws_connect(address, protocols=("binary",)) as connection:
                greeting = await connection.receive(timeout=30)
                if greeting.type is aiohttp.WSMsgType.BINARY:
                    assert greeting.data.startswith(b"RFB ")
                    return
    raise AssertionError("no greeting from the desktop")
