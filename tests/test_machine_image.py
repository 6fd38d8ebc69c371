"""A machine made of images/vm runs a session: its own cloud-init, its own agent, its own software.

Without a kernel of its own it is a container here, and what its unit names is started without systemd.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyterhub_daas.spawners.backends.machines import build_user_data
from tests.support.labs import Labs
from tests.support.podman_images import Running, SessionImages
from tests.support.ports import free_port
from tests.support.small_hub import SmallHub
from tests.support.waiting import wait_until

UNIT = Path(__file__).resolve().parents[1] / "images" / "vm" / "daas-agent.service"
UID = 20001
TOKEN = "the-session's-own"
FOLDER = "proposals/20180301"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab of Podman needs root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A facility's file systems: homes, and the data of a proposal."""
    for each in ("homes", "data/raw", "data/processed"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "data" / "raw" / "scan").write_text("measured")
    os.chown(tmp_path / "data" / "processed", UID, UID)
    return tmp_path


def order_of(port: int) -> dict[str, Any]:
    """Return the order of a session that says who it is before it serves."""
    says = f"id -u >uid; cp {FOLDER}/raw/scan {FOLDER}/processed/copy; touch {FOLDER}/raw/mine 2>refused; "
    server = f"exec jupyter-lab --no-browser --ip=127.0.0.1 --port={port}"
    return {
        "username": "amara",
        "uid": UID,
        "gid": UID,
        "groups": {"id21": 30001},
        "home": "/home/amara",
        "command": ["/bin/sh", "-c", says + server],
        "environment": {"PATH": "/opt/daas/bin:/usr/local/bin:/usr/bin:/bin", "JUPYTER_TOKEN": TOKEN},
        "port": port,
        "prefix": "/",
        "folder": FOLDER,
        "shares": [],
        "mounts": [
            {"source": f"/data/{part}", "target": f"{FOLDER}/{part}", "mode": mode}
            for part, mode in (("raw", "ro"), ("processed", "rw"))
        ],
    }


@pytest.fixture
def hub(place: Path) -> Iterator[SmallHub]:
    """A hub with one session to give."""
    running = SmallHub(place / "tls", order_of(free_port())).start()
    yield running
    running.close()


@pytest.fixture
def machine(labs: Labs, place: Path, hub: SmallHub) -> Iterator[Running]:
    """A machine that was made with our user data."""
    user_data = place / "user-data"
    url, ca = f"https://127.0.0.1:{hub.port}/hub/", hub.certificate.read_text()
    user_data.write_text(build_user_data(hub_url=url, session_id="0123456789abcdef", code="c" * 64, ca=ca))
    begins = f"cloud-init --file /user-data single --name write_files && exec {agent()} --address 127.0.0.1"
    options = (
        # As systemd gives it to its units.
        "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "--cap-add=SYS_ADMIN",
        f"--volume={user_data}:/user-data:ro",
        f"--volume={place / 'homes'}:/home",
        f"--volume={place / 'data'}:/data",
    )
    images = SessionImages(labs.up("podman"))
    with images.running("vm", "/bin/sh", "-c", begins, options=options) as running:
        yield running


def agent() -> str:
    """Return what the unit starts, which cloud-init is told to start."""
    (line,) = (each for each in UNIT.read_text().splitlines() if each.startswith("ExecStart="))
    return shlex.join(shlex.split(line.partition("=")[2]))


def test_a_machine_of_the_image_runs_its_session(machine: Running, hub: SmallHub, place: Path) -> None:
    wait_until(lambda: hub.said("ready") or machine.poll() is not None, 120, what="the session listens")
    assert machine.poll() is None, machine.stdout and machine.stdout.read()
    home, port = place / "homes" / "amara", hub.order["port"]
    assert (home / "uid").read_text() == f"{UID}\n"
    assert (place / "data" / "processed" / "copy").read_text() == "measured"
    assert "Read-only file system" in (home / "refused").read_text()
    status = requests.get(f"http://127.0.0.1:{port}/api/status", params={"token": TOKEN}, timeout=60)
    assert status.json()["kernels"] == 0
    # The desktop's page is there, too.
    desktop = requests.get(f"http://127.0.0.1:{port}/desktop/", params={"token": TOKEN}, timeout=60)
    assert desktop.status_code == 200
    assert "noVNC" in desktop.text
