#!/usr/bin/env python3
"""What every image of sessions keeps to, checked where it shows: while it is built, and on what came out.

    daas-contract check KIND [NAME==VERSION…]   the last step of a Dockerfile: in the image, as its user;
                                                for the kind vm as root
    daas-contract software                      in the image: what it holds, as JSON
    contract.py image <INSPECTED                outside: what `podman image inspect` says of it

Exits with 1 and a line for each breach. It needs the standard library, and in the image what every image has.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

KINDS = ("jupyter", "desktop", "vm")
# Generous: a machine that builds images has other things to do.
SECONDS = 180.0
SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL", re.IGNORECASE)
# Older ones leave a TCP port open.
DESKTOP_PROXY = ("jupyter-remote-desktop-proxy", (3, 0, 1))
# Of a machine: what cloud-init starts, and where its sessions have their programs from.
MACHINE_FILES = ("/opt/daas/daas_agent.py", "/etc/systemd/system/daas-agent.service", "/sbin/init", "/boot")
MACHINE_UNITS = ("nftables", "systemd-networkd", "cloud-init")
MACHINE_PATH = "/opt/daas/bin:/usr/local/bin:/usr/bin:/bin"

Breaches = list[str]


# --- in the image, as the user of its sessions


def check(kind: str, wanted: list[str]) -> Breaches:
    """Return how the image that this runs in breaks the contract of its kind."""
    found = [*check_homes(), *check_environment(os.environ), *check_versions(wanted)]
    if kind == "vm":
        return found + check_machine()
    found += check_account()
    needed = ["tini", "jupyterhub-singleuser", "jupyter-lab"]
    if kind == "desktop":
        needed += ["vncserver", "xauth"]
        found += check_desktop()
    found += [f"{name} is not on PATH" for name in needed if shutil.which(name) is None]
    # What it lacks says more than how it then fails.
    return found or check_server(kind)


def check_account() -> Breaches:
    """Sessions are not root."""
    if 0 in {os.getuid(), os.getgid(), *os.getgroups()}:
        return ["its user or a group of it is root: end the Dockerfile with USER 1000:1000"]
    return []


def check_homes() -> Breaches:
    """A home comes from outside: it hides what an image has there."""
    if any(Path("/home").glob("*")):
        return ["something is installed below /home, where the homes of people are mounted"]
    return []


def check_machine() -> Breaches:
    """A machine runs our agent when cloud-init says so, and lets nobody in but through the portal."""
    found = [f"{path} is not there" for path in MACHINE_FILES if not Path(path).exists()]
    found += [f"the unit {name} is not enabled" for name in MACHINE_UNITS if not _is_enabled(name)]
    needed = ("jupyterhub-singleuser", "jupyter-lab", "vncserver", "xauth")
    found += [
        f"{name} is not on {MACHINE_PATH}" for name in needed if shutil.which(name, path=MACHINE_PATH) is None
    ]
    if shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") is not None:
        found.append("it has an SSH server: people come through the portal")
    for line in Path("/etc/shadow").read_text().splitlines():
        name, secret, *_ = line.split(":")
        if not secret.startswith(("!", "*")):
            found.append(f"the account {name} can sign in with a password: passwd --lock {name}")
    return found + check_desktop()


def _is_enabled(unit: str) -> bool:
    done = subprocess.run(["systemctl", "is-enabled", "--quiet", unit], stdin=subprocess.DEVNULL)
    return done.returncode == 0


def check_environment(variables: Mapping[str, str]) -> Breaches:
    """Whoever has the image has its secrets."""
    return [f"the variable {name} looks like a secret" for name in variables if SECRET.search(name)]


def check_versions(wanted: list[str]) -> Breaches:
    """What the hub and a session have in common has one version."""
    found = []
    for name, _, version in (each.partition("==") for each in wanted):
        there = _version(name)
        if there != version:
            found.append(f"{name} is {there or 'not there'}, and the hub has {version or 'no version given'}")
    return found


def check_desktop() -> Breaches:
    """A desktop listens on a socket of its own, and what it begins with does not come from a home."""
    found = []
    name, least = DESKTOP_PROXY
    there = _version(name) or ""
    if tuple(int(each) for each in re.findall(r"\d+", there)[:3]) < least:
        found.append(f"{name} is {there or 'not there'}: {'.'.join(map(str, least))} or newer is needed")
    begin = os.environ.get("JUPYTER_REMOTE_DESKTOP_PROXY_XSTARTUP", "")
    if not os.access(begin, os.X_OK):
        found.append("JUPYTER_REMOTE_DESKTOP_PROXY_XSTARTUP names no program")
    return found


def check_server(kind: str) -> Breaches:
    """It comes up with an empty home and nothing else to write to; a desktop speaks VNC."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home, log = Path(folder), Path(folder) / "log"
        try:
            with _server(home, log) as (address, token):
                if kind == "desktop":
                    asyncio.run(_greet(address, token))
        except Exception as error:
            return [f"its server does not come up: {error!r}\n{log.read_text(errors='replace')[-4000:]}"]
    return []


@contextmanager
def _server(home: Path, log: Path) -> Iterator[tuple[str, str]]:
    """Run JupyterLab as a session does, but for the hub; yield its address and token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, address = secrets.token_hex(16), f"127.0.0.1:{port}"
    environment = {**os.environ, "HOME": str(home), "JUPYTER_TOKEN": token}
    command = ["jupyter-lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, cwd=home, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait_for(f"http://{address}/lab?token={token}", server)
        yield address, token
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(SECONDS)


def _wait_for(page: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            urllib.request.urlopen(page, timeout=SECONDS).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise
        time.sleep(0.2)


async def _greet(address: str, token: str) -> None:
    """Have the desktop started, as its page does, and read what a VNC server says first."""
    # Every image of ours has it, for JupyterLab stands on it.
    from tornado.websocket import websocket_connect

    connection = await websocket_connect(f"ws://{address}/desktop-websockify/?token={token}")
    greeting = await asyncio.wait_for(connection.read_message(), SECONDS)
    connection.close()
    if not isinstance(greeting, bytes) or not greeting.startswith(b"RFB "):
        raise RuntimeError(f"the desktop does not speak VNC but says {greeting!r}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def software() -> dict[str, str]:
    """Return what the image holds: its Python packages, and those of Debian that somebody chose."""
    packages = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    chosen = _output("apt-mark", "showmanual").split()
    listed = _output("dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *chosen)
    packages |= {f"deb:{name}": version for name, version in (each.split() for each in listed.splitlines())}
    in_order = sorted(packages.items(), key=lambda each: each[0].lower())
    return {"python": sys.version.split()[0], **dict(in_order)}


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- outside, on an image that is made


def check_image(inspected: list[dict[str, Any]]) -> Breaches:
    """Return how the configuration of images breaks the contract."""
    return [f"{image.get('Id', '')[:12]}: {breach}" for image in inspected for breach in _check_config(image)]


def _check_config(image: dict[str, Any]) -> Breaches:
    config, labels = image.get("Config") or {}, (image.get("Config") or {}).get("Labels") or {}
    found = check_environment(dict(each.partition("=")[::2] for each in config.get("Env") or []))
    if not labels.get("jupyterhub-daas/software"):
        found.append("it has no label jupyterhub-daas/software: images/build makes it")
    if labels.get("jupyterhub-daas/kind") != "vm":
        found += _check_container(config)
    return found


def _check_container(config: Mapping[str, Any]) -> Breaches:
    found = []
    user = str(config.get("User") or "").partition(":")[0]
    if not user.isdigit() or int(user) == 0:
        found.append(f"its user is '{user}', and must be a number other than 0")
    if "tini" not in Path((config.get("Entrypoint") or [""])[0]).name:
        found.append('its entrypoint does not reap processes: ENTRYPOINT ["tini", "-g", "--"]')
    ports = [each for each in config.get("ExposedPorts") or {} if int(each.partition("/")[0]) < 1024]
    return found + [f"port {port} needs a right that sessions do not have" for port in ports]


def main(words: list[str]) -> int:
    """Run one of the commands above."""
    match words:
        case ["check", kind, *wanted] if kind in KINDS:
            found = check(kind, wanted)
        case ["software"]:
            print(json.dumps(software()))
            return 0
        case ["image"]:
            found = check_image(json.load(sys.stdin))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    for breach in found:
        print("contract:", breach, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
