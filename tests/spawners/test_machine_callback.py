"""A machine fetches its session from a real hub, through a real proxy with TLS; what it must not do is told.

Most machines do nothing by themselves here: the tests speak in their place, from addresses of their own. The
last ones run the agent.
"""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.spawners.portal import PROPOSAL, SERVER, Portal, small_settings
from tests.support.encrypted import encrypted_front, make_certificate
from tests.support.ports import free_port
from tests.support.process_machines import end_machine, given_to
from tests.support.stack import Stack
from tests.support.waiting import wait_until

NAME = "brave-curie"
MINE, OTHER = "127.20.0.10", "127.20.0.99"
SMALL = ["/usr/bin/python3", str(SERVER)]
# Environments whose machines have the agent, and what their sessions run.
GUESTS = {"agent": [*SMALL, "works"], "dies": [*SMALL, "dies"], "missing": ["/nowhere/to/be/found"]}
SECRET, FOREIGN = "5" * 64, "6" * 64
ENVIRONMENT = "/usr/bin/python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
EXTRA = """
c.DaasSpawner.backends = {{"process": {{
    "class": "tests.support.process_machines:ProcessBackend",
    "folder": {folder!r}, "hub_url": {hub_url!r}, "ca": {ca!r}, **{more!r},
}}}}
"""


def machine_settings() -> dict[str, Any]:
    """Return the settings of a portal whose sessions are machines that run a small server."""
    whole = small_settings()
    command = [*SMALL, "works"]
    whole["environments"] = {mode: {"title": mode.title(), "kind": "vm"} for mode in ("works", *GUESTS)}
    whole["profiles"] = {
        mode: {
            "environment": mode,
            "backend": "process",
            "flavours": ["small"],
            "options": {"command": GUESTS.get(mode, command)},
        }
        for mode in ("works", *GUESTS)
    }
    return whole


@contextmanager
def machine_portal(folder: Path, settings: Mapping[str, Any], **more: object) -> Iterator[Portal]:
    """Start a portal of machines, with TLS in front; `more` are options of its backend."""
    port, machines = free_port(), folder / "stack" / "machines"
    _, certificate = make_certificate(folder)
    machines.mkdir(parents=True)
    extra = EXTRA.format(
        folder=str(machines),
        hub_url=f"https://127.0.0.1:{port}/hub/",
        ca=certificate.read_text(),
        more=more,
    )
    stack = Stack(folder / "stack", settings=dict(settings), extra=extra)
    try:
        stack.start()
        with encrypted_front(stack, folder, port):
            yield Portal(stack, things=lambda _: frozenset(each.name for each in machines.iterdir()))
    finally:
        stack.stop()
        for machine in (folder / "stack").glob("banked/*"):
            end_machine(machine)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal of machines that say nothing."""
    folder = tmp_path_factory.mktemp("machines")
    with machine_portal(folder, machine_settings(), guests=list(GUESTS)) as portal:
        yield portal


def call_hub(
    given: Mapping[str, str], what: str, proof: str, body: object, address: str = MINE, **headers: str
) -> tuple[int, Any]:
    """Call the hub as the machine to which this was given; return status and answer."""
    url = urlsplit(given["url"])
    connection = http.client.HTTPSConnection(
        url.hostname or "",
        url.port,
        source_address=(address, 0),
        context=ssl.create_default_context(cadata=given["ca"]),
        timeout=30,
    )
    with closing(connection):
        sent = {"Authorization": f"DaaS-Machine {proof}", "Content-Type": "application/json", **headers}
        connection.request("POST", url.path + what, json.dumps(body), sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


class Machine:
    """Speak as the machine of a session would."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.session_id = wait_until(self._its_id)
        self.given = given_to(portal.stack.folder / "machines" / self.session_id)

    def _its_id(self) -> str:
        for each in (self.portal.stack.folder / "machines").iterdir():
            if (each / "user_data").exists() and (each / "user_data").read_text():
                return each.name
        return ""

    def call(
        self, what: str, proof: str, body: object, address: str = MINE, **headers: str
    ) -> tuple[int, Any]:
        """Call the hub; return status and answer."""
        return call_hub(self.given, what, proof, body, address, **headers)

    def fetch(self, secret: str = SECRET, address: str = MINE, **headers: str) -> tuple[int, Any]:
        """Fetch the session with the code of the user data, as soon as the hub can answer."""

        def answered() -> tuple[int, Any] | None:
            answer = self.call("session", self.given["code"], {"secret": secret}, address, **headers)
            return None if answer[0] == 503 else answer

        return wait_until(answered, what="the hub knows the machine's address")

    def alarms(self, count: int) -> list[tuple[str, str]]:
        """Return reason and address of the session's alarms, when there are enough of them."""

        def told() -> list[tuple[str, str]]:
            answer = self.portal.stack.call("accounts", "GET", "audit", params={"limit": 200})
            return [
                (each["reason"], each["actor"]["name"])
                for each in reversed(answer.json()["items"])
                if each["action"] == "alarm" and each["request_id"] == self.session_id
            ]

        wait_until(lambda: len(told()) >= count, what=f"{count} alarms")
        return told()


@pytest.fixture
def machine(running: Portal) -> Iterator[Machine]:
    """The machine of a session that starts."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(start, running)
        yield Machine(running)
        running.clean()


def start(portal: Portal) -> None:
    """Start a session; the hub may be killed meanwhile."""
    with suppress(requests.RequestException):
        portal.start(NAME)


def test_a_machine_gets_its_session_once(machine: Machine) -> None:
    assert machine.call("session", FOREIGN, {"secret": SECRET})[0] == 403
    assert machine.call("session", machine.portal.stack.service_token, {"secret": SECRET})[0] == 403
    assert machine.call("ready", machine.given["code"], {"port": 8888})[0] == 403
    assert machine.call("session", machine.given["code"], {"secret": SECRET, "ip": MINE})[0] == 400
    status, order = machine.fetch()
    assert status == 200
    assert order["username"] == "amara"
    assert order["environment"]["JUPYTERHUB_API_TOKEN"]
    assert {each["mode"] for each in order["mounts"]} == {"ro", "rw"}
    # Its answer may have been lost.
    assert machine.fetch()[0] == 200
    assert machine.fetch(FOREIGN)[0] == 403
    assert machine.alarms(2) == [("wrong_code", MINE), ("code_replayed", MINE)]


def test_another_address_gets_nothing(machine: Machine) -> None:
    assert machine.fetch(address=OTHER)[0] == 403
    forged: list[dict[str, str]] = [
        {"X-Forwarded-For": MINE},
        {"X-Real-Ip": MINE},
        {"X-Forwarded-For": f"{MINE}, 127.0.0.1"},
        {"Forwarded": f"for={MINE}"},
    ]
    for headers in forged:
        assert machine.fetch(address=OTHER, **headers)[0] == 403, headers
    assert machine.fetch()[0] == 200
    assert machine.call("ready", SECRET, {"port": 8888}, OTHER)[0] == 403
    assert machine.alarms(1) == [("foreign_address", OTHER)]


def test_a_hub_that_was_restarted_goes_on(machine: Machine) -> None:
    portal = machine.portal
    portal.stack.kill_hub()
    portal.stack.start_hub()
    status, order = machine.fetch()
    assert status == 200
    assert order["environment"]["JUPYTERHUB_API_TOKEN"]
    assert machine.fetch(FOREIGN)[0] == 403
    assert machine.alarms(1) == [("code_replayed", MINE)]
    assert machine.call("ended", SECRET, {"ended": "server_ended"})[0] == 200
    assert portal.session_id(NAME) == machine.session_id


def test_a_machine_that_gives_up_ends_the_start(machine: Machine) -> None:
    assert machine.fetch()[0] == 200
    assert machine.call("ended", SECRET, {"ended": "in words of its own"})[0] == 400
    assert machine.call("ended", SECRET, {"ended": "mount", "status": 1})[0] == 200
    wait_until(lambda: not machine.portal.model(NAME).get("pending"), 60)
    assert not machine.portal.model(NAME).get("ready")


def test_nothing_secret_is_where_others_read(machine: Machine) -> None:
    status, order = machine.fetch()
    assert status == 200
    token = order["environment"]["JUPYTERHUB_API_TOKEN"]
    folder = machine.portal.stack.folder
    state = json.dumps(machine.portal.model(NAME)["state"])
    text = (folder / "machines" / machine.session_id / "user_data").read_text()
    log = machine.portal.stack.log()
    assert token not in state + text + log
    assert machine.given["code"] not in state + log
    assert SECRET not in state + log


def test_a_session_runs_on_its_machine(running: Portal) -> None:
    options = {"proposal": PROPOSAL, "environment": "agent"}
    assert running.start(NAME, options).status_code in (201, 202)
    running.wait_ready(NAME, seconds=60)
    said = json.loads(running.run(NAME, ENVIRONMENT))
    folder = running.stack.folder
    assert said["JUPYTERHUB_API_TOKEN"]
    assert said["DAAS_PROPOSAL"] == PROPOSAL
    assert said["HOME"] == str(folder / "homes" / "amara")
    assert said["DAAS_FOLDER"] == f"{said['HOME']}/proposals/{PROPOSAL}"
    # Its data is in its place, and what the machine was given is gone.
    assert set(running.run(NAME, "ls $DAAS_FOLDER").split()) == {"raw", "processed"}
    machine = folder / "machines" / running.session_id(NAME)
    assert not (machine / "bootstrap.json").exists()
    assert said["JUPYTERHUB_API_TOKEN"] not in (machine / "console").read_text()
    running.leave(NAME)
    wait_until(lambda: not running.model(NAME).get("ready"), 60, what="the hub knows of the end")
    running.clean()


@pytest.mark.parametrize(("environment", "why"), [("dies", "server_ended"), ("missing", "command")])
def test_a_machine_says_why_its_session_does_not_start(running: Portal, environment: str, why: str) -> None:
    running.start(NAME, {"proposal": PROPOSAL, "environment": environment})
    wait_until(lambda: not running.model(NAME).get("pending"), 60, what="the start is over")
    assert not running.model(NAME).get("ready")
    assert f"The machine gave up: {why}." in running.stack.log()
    running.clean()
