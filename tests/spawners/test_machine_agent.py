"""The agent as a process: what it does as root, and what it refuses. A small hub in a thread answers it.

What it does at a real hub is in test_machine_callback.
"""

import json
import os
import pwd
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from images.vm import daas_agent
from tests.support.encrypted import make_certificate
from tests.support.guest import AGENT
from tests.support.ports import free_port
from tests.support.small_hub import SmallHub
from tests.support.stack import ACCOUNT, unprivileged
from tests.support.waiting import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives sessions another account")
CODE = "c" * 64
SESSION = "0123456789abcdef"
# What a session says of itself, into its home, before it serves.
PROGRAM = """
import json, os, sys, http.server
status = open("/proc/self/status").read()
said = {"ids": [os.getresuid(), os.getresgid(), os.getgroups()], "environment": dict(os.environ),
        "privileges": status.split("NoNewPrivs:")[1].split()[0], "folder": os.getcwd()}
open("said.new", "w").write(json.dumps(said))
os.rename("said.new", "said")
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


class Agent:
    """A machine with its agent."""

    def __init__(self, folder: Path, hub: SmallHub, **given: str) -> None:
        self.folder, self.hub = folder, hub
        self.bootstrap = folder / "bootstrap.json"
        # As its unit has them.
        self.journal, self.console = folder / "journal", folder / "console"
        url = f"https://127.0.0.1:{hub.port}/hub/daas/machines/{SESSION}/"
        start = {"url": url, "code": CODE, "ca": hub.certificate.read_text(), **given}
        self.bootstrap.write_text(json.dumps(start))
        root = os.geteuid() == 0
        command = [
            # Mounts are the agent's own, and go with it.
            *(["unshare", "--mount"] if root else []),
            *(sys.executable, str(AGENT), "--bootstrap", str(self.bootstrap)),
            *("--address", "127.0.0.1", "--views", str(folder / "views")),
            *([] if root else ["--as-is"]),
        ]
        with self.journal.open("wb") as journal, self.console.open("wb") as console:
            self.process = subprocess.Popen(command, stdout=journal, stderr=console, start_new_session=True)

    def end(self) -> int:
        """Wait for its end; return its status."""
        return self.process.wait(120)


def order_of(folder: Path, **more: Any) -> dict[str, Any]:
    """Return an order for the tests' own account, whose home and data are in a folder."""
    _, uid = unprivileged()
    account = pwd.getpwuid(uid)
    home, port = folder / "home", free_port()
    return {
        "username": account.pw_name if uid == account.pw_uid else ACCOUNT,
        "uid": account.pw_uid,
        "gid": account.pw_gid,
        "groups": {},
        "home": str(home),
        "command": [sys.executable, "-c", PROGRAM, "127.0.0.1", str(port)],
        "environment": {"PATH": "/usr/bin:/bin", "JUPYTERHUB_API_TOKEN": "the-session's-token"},
        "port": port,
        "prefix": "/user/amara/brave-curie/",
        "folder": "proposals/20180301",
        "shares": [],
        "mounts": [],
        **more,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the account of a session can pass through."""
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[Any]]:
    """Agents and hubs of a test; ended after it."""
    things: list[Any] = []
    yield things
    for each in reversed(things):
        if isinstance(each, Agent):
            with suppress(ProcessLookupError):
                each.process.send_signal(signal.SIGTERM)
            each.process.wait(60)
        else:
            each.close()


def run(folder: Path, started: list[Any], order: Mapping[str, Any], *first: int, **given: str) -> Agent:
    """Start a hub with this order, and a machine."""
    hub = SmallHub(folder / "tls", order, first)
    started.append(hub.start())
    agent = Agent(folder, hub, **given)
    started.append(agent)
    return agent


@needs_root
def test_a_session_runs_as_its_person(folder: Path, started: list[Any]) -> None:
    raw, processed = folder / "data" / "raw", folder / "data" / "processed"
    for each in (raw, processed):
        each.mkdir(parents=True)
        each.chmod(0o777)
    (raw / "scan").write_text("measured")
    target = "proposals/20180301"
    mounts = [
        {"source": str(raw), "target": f"{target}/raw", "mode": "ro"},
        {"source": str(processed), "target": f"{target}/processed", "mode": "rw"},
    ]
    order = order_of(folder, mounts=mounts)
    order["command"][2] = (
        "import os\n"
        f"open('{target}/processed/result', 'w').write(open('{target}/raw/scan').read())\n"
        "try: open(f'{os.getcwd()}/" + target + "/raw/mine', 'w')\n"
        "except OSError as error: open('refused', 'w').write(error.strerror)\n" + PROGRAM
    )
    agent = run(folder, started, order)
    wait_until(lambda: agent.hub.said("ready"), what="the session listens")
    assert agent.hub.said("ready") == [{"port": order["port"]}]
    said = json.loads((folder / "home" / "said").read_text())
    uid, gid = order["uid"], order["gid"]
    assert said["ids"] == [[uid] * 3, [gid] * 3, [gid]]
    assert said["privileges"] == "1"
    assert said["folder"] == order["home"]
    environment = said["environment"]
    assert environment["USER"] == ACCOUNT
    assert environment["JUPYTERHUB_API_TOKEN"] == "the-session's-token"
    assert environment["JUPYTERHUB_SERVICE_URL"].endswith(f":{order['port']}/user/amara/brave-curie/")
    assert not {"SUDO_USER", "DAAS_VENV", "OLDPWD"} & set(environment)
    # What may not be written is refused by the mount, whatever the folder's rights say.
    assert (processed / "result").read_text() == "measured"
    assert (folder / "home" / "refused").read_text() == "Read-only file system"


@pytest.mark.parametrize("machines_own", ["", "/nowhere"], ids=["where OpenSSL looks", "beside it"])
def test_a_session_trusts_whom_its_machine_trusts(
    folder: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch, machines_own: str
) -> None:
    bundle = Path(ssl.get_default_verify_paths().openssl_capath) / "ca-certificates.crt"
    monkeypatch.setenv("SSL_CERT_FILE", machines_own or str(bundle))
    hub = SmallHub(folder / "tls", order := order_of(folder))
    started.append(hub.start())
    order["command"][2] = ASKS.format(port=hub.port) + PROGRAM
    agent = Agent(folder, hub)
    started.append(agent)
    wait_until(lambda: hub.said("ready") or hub.said("ended"), what="it was heard of")
    assert hub.said("ended") == [], agent.journal.read_text()
    trusted = json.loads((folder / "home" / "said").read_text())["environment"]["SSL_CERT_FILE"]
    assert Path(trusted).read_text() == f"{bundle.read_text()}\n{hub.certificate.read_text()}"


# A session that asks the hub who may enter.
ASKS = """
import http.client
http.client.HTTPSConnection("127.0.0.1", {port}).connect()
"""


def test_a_profile_says_whom_its_sessions_trust(folder: Path, started: list[Any]) -> None:
    order = order_of(folder)
    order["environment"]["SSL_CERT_FILE"] = "/the/facility's/own.pem"
    agent = run(folder, started, order)
    wait_until(lambda: agent.hub.said("ready"), what="the session listens")
    said = json.loads((folder / "home" / "said").read_text())
    assert said["environment"]["SSL_CERT_FILE"] == "/the/facility's/own.pem"


def test_what_a_session_says_is_not_on_the_console(folder: Path, started: list[Any]) -> None:
    order = order_of(folder)
    order["command"][2] = "import sys; print('opened a notebook', file=sys.stderr)\n" + PROGRAM
    agent = run(folder, started, order)
    wait_until(lambda: agent.hub.said("ready"), what="the session listens")
    assert "opened a notebook" in agent.journal.read_text()
    lines = agent.console.read_text().splitlines()
    assert lines[0] == "daas-agent: asking the hub for the session"
    assert all(line.startswith("daas-agent: ") for line in lines)


def test_says_when_the_session_has_ended(folder: Path, started: list[Any]) -> None:
    order = order_of(folder)
    order["command"] = [sys.executable, "-c", ENDS.format(port=order["port"])]
    agent = run(folder, started, order, 503, 502)
    assert agent.end() == 7
    assert agent.hub.said("ended") == [{"ended": "server_ended", "status": 7}]
    # One code, one secret; the hub was asked again until it answered.
    assert [each for each, *_ in agent.hub.calls] == ["session"] * 3 + ["ready", "ended"]
    assert len({json.dumps(body) for body in agent.hub.said("session")}) == 1
    assert {proof for what, proof, _ in agent.hub.calls if what == "session"} == {f"DaaS-Machine {CODE}"}
    secret = agent.hub.said("session")[0]["secret"]
    assert {proof for what, proof, _ in agent.hub.calls if what != "session"} == {f"DaaS-Machine {secret}"}
    assert not agent.bootstrap.exists()
    for text in (CODE, secret, "the-session's-token"):
        assert text not in agent.console.read_text()


# Ends once somebody has seen that it listens.
ENDS = """
import os, socket
listening = socket.create_server(("127.0.0.1", {port}))
listening.accept()
os._exit(7)
"""


def test_waits_for_a_session_that_is_to_come(folder: Path, started: list[Any]) -> None:
    agent = run(folder, started, {"wait": 0.05})
    wait_until(lambda: len(agent.hub.said("session")) > 3, what="it asks again")
    agent.hub.order = order_of(folder)
    wait_until(lambda: agent.hub.said("ready"), what="the session listens")


def test_ends_the_session_with_itself(folder: Path, started: list[Any]) -> None:
    order = order_of(folder)
    agent = run(folder, started, order)
    wait_until(lambda: agent.hub.said("ready"), what="the session listens")
    agent.process.send_signal(signal.SIGTERM)
    agent.end()
    said = json.loads((folder / "home" / "said").read_text())
    assert said["folder"] == order["home"]
    wait_until(lambda: not _listens(order["port"]), what="nothing of the session is left")


def _listens(port: int) -> bool:
    wanted = f":{port:04X} 00000000:0000 0A"
    return wanted in Path("/proc/net/tcp").read_text()


@pytest.mark.parametrize("status", [302, 307, 403, 409])
def test_takes_no_for_an_answer(folder: Path, started: list[Any], status: int) -> None:
    agent = run(folder, started, order_of(folder), status)
    assert agent.end() == 1
    assert [each for each, *_ in agent.hub.calls] == ["session"]


def test_an_image_that_lacks_a_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    order = {"username": "nobody-here", "uid": 54321, "gid": 54321, "groups": {}, "home": "/nowhere"}
    with pytest.raises(daas_agent.GaveUpError, match="groupadd can't be run: No such file") as error:
        daas_agent.make_account(order)
    assert error.value.why == daas_agent.ACCOUNT


def test_says_nothing_to_a_hub_whose_certificate_is_wrong(folder: Path, started: list[Any]) -> None:
    _, other = make_certificate(folder / "other")
    agent = run(folder, started, order_of(folder), ca=other.read_text())
    wait_until(lambda: "certificate is not right" in agent.console.read_text())
    assert agent.hub.calls == []


def test_says_nothing_over_plain_http(folder: Path, started: list[Any]) -> None:
    agent = run(folder, started, order_of(folder), url="http://192.0.2.1/hub/daas/machines/x/")
    assert agent.end() == 1
    assert "not https" in agent.console.read_text()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "root": ({"uid": 0}, "account"),
    "root's group": ({"gid": 0}, "account"),
    "root among the groups": ({"groups": {"wheel": 0}}, "account"),
    "no number": ({"uid": "0"}, "account"),
    "a command that is not there": ({"command": ["/nowhere/to/be/found"]}, "command"),
    "a server that ends": ({"command": ["/bin/false"]}, "server_ended"),
}
WRONG_FOR_ROOT: dict[str, tuple[dict[str, Any], str]] = {
    "other numbers than here": ({"uid": 54321}, "account"),
    "another's name": ({"username": "daemon"}, "account"),
    "a share that can't be mounted": (
        {"shares": [{"device": "/nowhere", "path": "{folder}/share", "type": "none", "options": "bind"}]},
        "mount",
    ),
    "data that is not there": (
        {"mounts": [{"source": "/nowhere/to/be/found", "target": "raw", "mode": "ro"}]},
        "mount",
    ),
    "a home that can't be made": ({"home": "/nowhere/to/be/found"}, "mount"),
}


def gives_up(folder: Path, started: list[Any], wrong: dict[str, Any], why: str) -> None:
    """Check that a machine with this order says why it can't be."""
    wrong = json.loads(json.dumps(wrong).replace("{folder}", str(folder)))
    agent = run(folder, started, order_of(folder, **wrong))
    assert agent.end() == 1
    assert [each["ended"] for each in agent.hub.said("ended")] == [why]
    assert agent.hub.said("ready") == []


@pytest.mark.parametrize(("wrong", "why"), WRONG.values(), ids=WRONG.keys())
def test_says_why_it_gives_up(folder: Path, started: list[Any], wrong: dict[str, Any], why: str) -> None:
    gives_up(folder, started, wrong, why)


@needs_root
@pytest.mark.parametrize(("wrong", "why"), WRONG_FOR_ROOT.values(), ids=WRONG_FOR_ROOT.keys())
def test_says_why_root_gives_up(folder: Path, started: list[Any], wrong: dict[str, Any], why: str) -> None:
    gives_up(folder, started, wrong, why)
