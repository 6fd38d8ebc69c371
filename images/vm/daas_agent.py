"""Be a machine's agent: fetch its session from the hub, start the session's server as its person, say so.

Runs as root, once in a machine's life, started by cloud-init with a file that holds the hub's address and a
code. It needs nothing but Python 3.10 or newer. Whatever it fetches comes over one verified connection; what
it says is numbers and words of a fixed list. The session's server gets the person's uid, gid and groups, and
never root's. When the server has ended the machine is of no use any more: it never has a second session.
"""

import argparse
import ctypes
import grp
import http.client
import ipaddress
import json
import os
import pwd
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

BOOTSTRAP = "/run/daas/bootstrap.json"
# Below it the session's data is mounted: root's folder, so that nobody can put a link in its way.
VIEWS = "/srv/daas"
ASK_SECONDS = 40
RETRY_SECONDS = 900
LISTEN_SECONDS = 300
END_SECONDS = 20
LONGEST_PAUSE = 5.0
MOST_BYTES = 1 << 20
# As the hub knows them.
ACCOUNT, MOUNT, COMMAND, SERVER, LISTEN = "account", "mount", "command", "server_ended", "not_listening"
PR_SET_NO_NEW_PRIVS = 38


class RefusedError(Exception):
    """The hub said no, or did not answer for too long."""


class GaveUpError(Exception):
    """The session can't be on this machine; `why` is the word for the hub, the text is for the console."""

    def __init__(self, why: str, text: str) -> None:
        super().__init__(text)
        self.why = why


def say(text: object) -> None:
    """Write a line to the console; never anything that was fetched."""
    sys.stderr.write(f"daas-agent: {text}\n")


# --- the hub


class Hub:
    """Call the hub: over TLS, whose certificate has to be right, past any proxy and without a redirect."""

    def __init__(self, url: str, ca: str, address: str = "") -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
        self._source = (address, 0) if address else None
        self._trust = ssl.create_default_context(cadata=ca or None) if parts.scheme == "https" else None
        if self._trust is None and not (parts.scheme == "http" and _is_loopback(self._host)):
            raise RefusedError("the hub's address is not https")

    def call(self, what: str, proof: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask until there is an answer: the hub may be starting again, or not know this machine yet."""
        end, pause = time.monotonic() + RETRY_SECONDS, 0.1
        while True:
            try:
                status, content = self._ask(what, proof, body)
                if status == 200 and isinstance(content, dict):
                    return content
                problem: object = f"it answered {status}"
            except ssl.SSLCertVerificationError as error:
                problem, status = f"its certificate is not right: {error.verify_message}", 0
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem, status = error, 0
            if 300 <= status < 500:
                raise RefusedError(f"the hub answered {status}")
            if time.monotonic() > end:
                raise RefusedError(f"the hub can't be asked: {problem}")
            say(f"asking again: {problem}")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _ask(self, what: str, proof: str, body: dict[str, Any]) -> tuple[int, Any]:
        headers = {"Authorization": f"DaaS-Machine {proof}", "Content-Type": "application/json"}
        connection = self._connect()
        try:
            connection.request("POST", self._path + what, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read(MOST_BYTES)
            return answer.status, json.loads(text) if answer.status == 200 else None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port, source = self._host, self._port, self._source
        if self._trust is None:
            return http.client.HTTPConnection(host, port, timeout=ASK_SECONDS, source_address=source)
        return http.client.HTTPSConnection(
            host, port, timeout=ASK_SECONDS, source_address=source, context=self._trust
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- the person


def check_numbers(order: dict[str, Any]) -> None:
    """Refuse root, whatever was fetched."""
    for number in (order["uid"], order["gid"], *order["groups"].values()):
        if not isinstance(number, int) or not 0 < number < (1 << 32) - 1:
            raise GaveUpError(ACCOUNT, "a session never runs as root")


def make_account(order: dict[str, Any]) -> None:
    """Make the person's account and groups; those that the machine knows already must be the same."""
    name, uid, gid = order["username"], order["uid"], order["gid"]
    for group, number in {name: gid, **order["groups"]}.items():
        _make_group(group, number)
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        _run(ACCOUNT, "useradd", "--no-create-home", "--home-dir", order["home"], "--shell", "/bin/bash",
             "--uid", str(uid), "--gid", str(gid), name)  # fmt: skip
        return
    if (found.pw_uid, found.pw_gid) != (uid, gid):
        raise GaveUpError(ACCOUNT, f"the account {name} has other numbers here than it should")


def _make_group(name: str, gid: int) -> None:
    with suppress(KeyError):
        grp.getgrgid(gid)
        return
    with suppress(KeyError):
        grp.getgrnam(name)
        name = f"daas-{gid}"  # the name is another group's: the number is what counts
    _run(ACCOUNT, "groupadd", "--gid", str(gid), name)


def _run(why: str, *command: str) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise GaveUpError(why, f"{command[0]} can't be run: {error.strerror}") from None
    if done.returncode != 0:
        raise GaveUpError(why, f"{command[0]} failed: {done.stderr.strip()[:300]}")


def become(order: dict[str, Any]) -> None:
    """Be the person from now on, and nothing more."""
    os.setgroups(sorted({order["gid"], *order["groups"].values()}))
    os.setresgid(order["gid"], order["gid"], order["gid"])
    os.setresuid(order["uid"], order["uid"], order["uid"])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


# --- the data


def mount_shares(shares: list[dict[str, str]]) -> None:
    """Mount the facility's file systems."""
    for share in shares:
        path = share["path"]
        if os.path.ismount(path):
            continue
        os.makedirs(path, exist_ok=True)
        _run(MOUNT, "mount", "-t", share["type"], "-o", share["options"], share["device"], path)


def mount_views(mounts: list[dict[str, str]], views: str) -> dict[str, str]:
    """Mount the session's data below `views`, read-only where it has to be; return target -> place."""
    found = {}
    for mount in mounts:
        place = os.path.join(views, mount["target"])
        os.makedirs(place, exist_ok=True)
        if not os.path.ismount(place):
            _run(MOUNT, "mount", "--rbind", mount["source"], place)
        access = "ro" if mount["mode"] == "ro" else "rw"
        _run(MOUNT, "mount", "-o", f"remount,bind,{access},nosuid,nodev", place)
        found[mount["target"]] = place
    return found


def make_home(order: dict[str, Any]) -> None:
    """Make a home folder if there is none; what is there already stays whose it is."""
    try:
        os.mkdir(order["home"], 0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise GaveUpError(MOUNT, f"the home folder can't be made: {error.strerror}") from None
    os.chown(order["home"], order["uid"], order["gid"])


def place_links(home: str, folder: str, links: dict[str, str]) -> None:
    """Make the proposal's folder and the links to its data; as the person, with her rights only."""
    os.makedirs(os.path.join(home, folder), exist_ok=True)
    for target, source in sorted(links.items()):
        path = os.path.join(home, target)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.islink(path):
                if os.readlink(path) == source:
                    continue
                os.unlink(path)
            os.symlink(source, path)
        except OSError as error:
            say(f"{target} is not linked: {error.strerror}")


# --- the server


def trust_in(ca: str, folder: str) -> dict[str, str]:
    """Have the session trust the hub, which it asks who may enter, beside whom the machine trusts."""
    paths, place = ssl.get_default_verify_paths(), os.path.join(folder, "trust.pem")
    # All of them: who is told of a file may look nowhere else. On Ubuntu OpenSSL does not look in it itself.
    own = paths.cafile or os.path.join(paths.openssl_capath, "ca-certificates.crt")
    with open(place, "wb") as file, open(own if os.path.exists(own) else os.devnull, "rb") as known:
        file.write(known.read() + f"\n{ca}".encode())
    return {"SSL_CERT_FILE": place}


def environment_of(order: dict[str, Any], address: str) -> dict[str, str]:
    """Return the server's environment: what the hub says, and the account; nothing of the agent's own."""
    return {
        "HOME": order["home"],
        "USER": order["username"],
        "LOGNAME": order["username"],
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        **order["environment"],
        "DAAS_FOLDER": os.path.join(order["home"], order["folder"]),
        "JUPYTERHUB_SERVICE_URL": f"http://{address or '0.0.0.0'}:{order['port']}{order['prefix']}",
    }


def start_server(order: dict[str, Any], links: dict[str, str], address: str, *, as_is: bool) -> int:
    """Start the session's server as the person; return its process id."""
    server = os.fork()
    if server:
        return server
    try:
        os.setsid()
        # The agent's errors are on the console, which others read in the cloud: a session's must not be.
        os.dup2(1, 2)
        if not as_is:
            become(order)
        os.umask(0o022)
        os.chdir(order["home"])
        place_links(order["home"], order["folder"], links)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        environment = environment_of(order, address)
        os.environ["PATH"] = environment["PATH"]
        os.execvpe(order["command"][0], order["command"], environment)
    except OSError as error:
        say(f"{order['command'][0]} can't be started: {error.strerror}")
    finally:
        os._exit(127)


def wait_until_it_listens(server: int, address: str, port: int) -> None:
    """Return when somebody listens on the port; raise when the server ended or takes too long."""
    end = time.monotonic() + LISTEN_SECONDS
    while time.monotonic() < end:
        status = ended(server)
        if status is not None:
            raise GaveUpError(COMMAND if status == 127 else SERVER, f"the server ended with status {status}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((address or "127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise GaveUpError(LISTEN, "the server does not listen")


def ended(server: int, *, wait: bool = False) -> int | None:
    """Return the status of a server that has ended, as a shell would say it; None while it runs."""
    found, raw = os.waitpid(server, 0 if wait else os.WNOHANG)
    if not found:
        return None
    status = os.waitstatus_to_exitcode(raw)
    return status if status >= 0 else 128 - status


def end_server(server: int) -> None:
    """End all of a session's processes: asked first, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server, number)
        except OSError:
            return
        end = time.monotonic() + END_SECONDS
        while number == signal.SIGTERM and time.monotonic() < end:
            try:
                if ended(server) is not None:
                    break
            except ChildProcessError:
                break
            time.sleep(0.05)


# --- all of it


def prepare(order: dict[str, Any], views: str, *, as_is: bool) -> dict[str, str]:
    """Make the account and mount the data; return the links that her home needs."""
    check_numbers(order)
    if as_is:
        if os.geteuid() == 0:
            raise GaveUpError(ACCOUNT, "root can't be taken as it is")
        os.makedirs(order["home"], exist_ok=True)
        return {each["target"]: each["source"] for each in order["mounts"]}
    make_account(order)
    mount_shares(order["shares"])
    make_home(order)
    return mount_views(order["mounts"], views)


def run_session(hub: Hub, secret: str, order: dict[str, Any], given: argparse.Namespace) -> int:
    """Run the session's server from its start to its end; return its status."""
    server = 0

    def leave(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    try:
        links = prepare(order, given.views, as_is=given.as_is)
        server = start_server(order, links, given.address, as_is=given.as_is)
        wait_until_it_listens(server, given.address, order["port"])
        hub.call("ready", secret, {"port": order["port"]})
        say("the session listens")
        status = ended(server, wait=True) or 0
        hub.call("ended", secret, {"ended": SERVER, "status": min(status, 255)})
        return status
    except GaveUpError as error:
        say(error)
        hub.call("ended", secret, {"ended": error.why, "status": 1})
        return 1
    finally:
        if server:
            end_server(server)


def fetch(hub: Hub, code: str, secret: str) -> dict[str, Any]:
    """Return the machine's session; wait for it as long as the hub says that there will be one."""
    while True:
        order = hub.call("session", code, {"secret": secret})
        if "wait" not in order:
            return order
        time.sleep(float(order["wait"]))


def main() -> int:
    """Fetch the session and run it."""
    parser = argparse.ArgumentParser(description="Run a machine's session.")
    parser.add_argument("--bootstrap", default=BOOTSTRAP, help="file with the hub's address and the code")
    parser.add_argument("--address", default="", help="the machine's address (default: all it has)")
    parser.add_argument("--views", default=VIEWS, help="folder below which the session's data is mounted")
    parser.add_argument("--as-is", action="store_true", help="run the session with this account")
    given = parser.parse_args()
    with open(given.bootstrap, encoding="utf-8") as file:
        start = json.load(file)
    # Whoever reads it from now on is late, and what the session starts finds nothing.
    os.unlink(given.bootstrap)
    secret = secrets.token_hex(32)
    try:
        hub = Hub(start["url"], start["ca"], given.address)
        say("asking the hub for the session")
        order = fetch(hub, start["code"], secret)
        # A profile that says whom its sessions trust has the last word.
        trust = trust_in(start["ca"], os.path.dirname(given.bootstrap)) if start["ca"] else {}
        order["environment"] = trust | order["environment"]
        return run_session(hub, secret, order, given)
    except RefusedError as error:
        say(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
