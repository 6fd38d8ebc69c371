"""A session on a real machine of images/vm, booted by QEMU for Nova, with its own cloud-init and agent.

A part of its own, `scripts/test vm-guest`: without KVM a machine takes minutes until its JupyterLab listens.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import DESKTOP
from tests.browser.people import Visitor
from tests.spawners.backends.openstack import OpenStack
from tests.support.file_server import file_server
from tests.support.labs import Labs, cache
from tests.support.real_machines import build_disk, flavor_in_cloud, image_in_cloud, install_host
from tests.support.stack import Stack
from tests.support.waiting import wait_for

PERSON, PROPOSAL, FLAVOUR = "bruno", "20180301", "machine"
CPUS, MEMORY, DISK = 2, 2048, 8
COUNTS = "counts of the beamtime"
# Without KVM, on a machine that has other things to do.
BOOT_SECONDS = 1800
NOTEBOOK = "what-a-machine-has.ipynb"

CELL = """
import json, os, socket
from pathlib import Path
import h5py

def metadata():
    "Return how the way to the cloud's metadata service ends."
    try:
        socket.create_connection(("169.254.169.254", 80), timeout=20).close()
    except OSError as error:
        return type(error).__name__
    return "open"

with h5py.File("../raw/counts.h5") as file:
    counts = file["counts"].asstr()[()]
Path("from-the-machine").write_text(counts)
secret = ("/run/daas/bootstrap.json", "/var/lib/cloud/instance/user-data.txt", "/dev/sr0", "/dev/vda")
disk = os.statvfs("/")
print("RESULT", json.dumps({
    "uid": os.getuid(),
    "home": os.environ["HOME"],
    "first": Path("/proc/1/comm").read_text().strip(),
    "maker": Path("/sys/class/dmi/id/sys_vendor").read_text().strip(),
    "cpus": os.cpu_count(),
    "grown": disk.f_blocks * disk.f_frsize > 7 << 30,
    "counts": counts,
    "writable": os.access("../raw", os.W_OK),
    "readable": [path for path in secret if os.access(path, os.R_OK)],
    "metadata": metadata(),
}))
"""

EXPECTED = {
    "home": f"/home/{PERSON}",
    "first": "systemd",
    "maker": "QEMU",
    "cpus": CPUS,
    "grown": True,
    "counts": COUNTS,
    "writable": False,
    "readable": [],
    # By the rules of the image: nothing else answers so.
    "metadata": "ConnectionRefusedError",
}


class Machines(OpenStack):
    """The lab's cloud for sessions whose machines mount a real file server."""

    def __init__(self, lab: dict[str, str], image: str, folder: Path, undo: ExitStack) -> None:
        super().__init__(lab)
        self.image, self.folder, self._undo = image, folder, undo

    def settings(self) -> dict[str, Any]:
        """Offer one environment."""
        flavour = {"title": "Machine", "cpus": CPUS, "memory": f"{MEMORY}M", "storage": f"{DISK}G"}
        options = {"image": self.image, "start_seconds": BOOT_SECONDS}
        return {
            "flavours": {FLAVOUR: flavour},
            "environments": {"jupyter": {"title": "Jupyter", "kind": "jupyter"}},
            "profiles": {
                "jupyter": {
                    "environment": "jupyter",
                    "backend": self.name,
                    "flavours": [FLAVOUR],
                    "options": options,
                }
            },
            "quotas": {"default": {}, "default_flavour": FLAVOUR},
        }

    def options(self, folder: Path) -> dict[str, Any]:
        """Have machines mount the data of the proposals."""
        served = folder / "data"
        served.mkdir()
        server = file_server(served, self.folder / "files", self.cloud.hub_ip)
        return {**super().options(folder), "shares": [self._undo.enter_context(server)]}

    def switched_on(self, hub_id: str) -> tuple[Any, int] | None:
        """Return a hub's server and its QEMU, once that runs."""
        for server in self.tenant.servers(hub_id):
            pid = self.cloud.guest_pid(server.id)
            if pid is not None and "qemu" in Path(f"/proc/{pid}/comm").read_text():
                return server, pid
        return None

    def says(self, server_id: str, words: str) -> bool:
        """Tell whether a machine has written something on its console; fail when it is off."""
        text = (self.cloud.folder / "guests" / server_id / "console.log").read_text(errors="replace")
        assert self.cloud.guest_pid(server_id), f"the machine is off: {text[-2000:]}"
        return words in text

    def console(self, server_id: str) -> str:
        """Return a machine's console as the cloud has it, and keep it for whoever reads why a test failed."""
        console = self.tenant.cloud.compute.get_server_console_output(server_id)["output"]
        (cache() / "vm-guest.console").write_text(console)
        return str(console)

    @property
    def front(self) -> str:
        """Return the portal's address behind TLS."""
        return f"https://{self.cloud.hub_ip}:{self._port}"


@dataclass
class Clock:
    """How long each step took, for whoever reads the report."""

    began: float = field(default_factory=time.monotonic)

    def tell(self, step: str) -> None:
        """Say that a step is done."""
        now = time.monotonic()
        print(f"vm-guest: {step}: {now - self.began:.0f} s", flush=True)
        self.began = now


@dataclass
class Site:
    """A portal, and the cloud that it uses."""

    stack: Stack
    machines: Machines


class FromOutside(Visitor):
    """Somebody who comes through the web server with TLS in front of the portal."""

    front = ""

    def address(self, path: str) -> str:
        """Return the address of a page as the world knows it."""
        return super().address(path).replace(self.site.url, self.front, 1)


@pytest.fixture(scope="module")
def clock() -> Clock:
    """The time from the module's beginning."""
    return Clock()


@pytest.fixture(scope="module")
def machines(labs: Labs, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cloud with our image in it."""
    install_host()
    clock.tell("packages")
    disk = build_disk()
    clock.tell("images and disk")
    lab = labs.up("openstack")
    clock.tell("cloud")
    with ExitStack() as undo:
        folder = tmp_path_factory.mktemp("machines")
        found = undo.enter_context(closing(Machines(dict(lab), "", folder, undo)))
        undo.enter_context(flavor_in_cloud(found.cloud, FLAVOUR, cpus=CPUS, memory=MEMORY, disk=DISK))
        found.image = undo.enter_context(image_in_cloud(found.cloud, disk, f"daas-{folder.parent.name}"))
        clock.tell("image in the cloud")
        yield found


@pytest.fixture(scope="module")
def running(machines: Machines, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A portal whose sessions are such machines."""
    stack = machines.build_stack(tmp_path_factory.mktemp("vm"))
    try:
        stack.start()
        _fill(stack.folder / "data" / PROPOSAL, uid_of(stack))
        clock.tell("portal")
        yield Site(stack, machines)
    finally:
        stack.stop()


def uid_of(stack: Stack) -> int:
    """Return the person's number."""
    return int(stack.call("proposals", "GET", f"people/{PERSON}").json()["uid"])


def _fill(proposal: Path, uid: int) -> None:
    """Give the proposal its data: readable for everybody, results writable for the person."""
    import h5py

    with h5py.File(proposal / "raw" / "counts.h5", "w") as file:
        file["counts"] = COUNTS
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": None, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    content = {"cells": [{**cell, "source": CELL}], "metadata": {"kernelspec": kernel}}
    notebook = proposal / "processed" / NOTEBOOK
    notebook.write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}))
    for path in (notebook.parent, notebook):
        os.chown(path, uid, -1)


def traces(server_id: str, pid: int) -> list[Path]:
    """Return what there is of a machine on this computer: QEMU's process and its network card."""
    places = Path(f"/proc/{pid}"), Path(f"/sys/class/net/do{server_id[:8]}")
    return [each for each in places if each.exists()]


async def watch(machines: Machines, server_id: str, clock: Clock) -> None:
    """Follow a machine on its console until its session listens."""
    for step, words in {
        "boot and cloud-init": "daas-agent: asking the hub for the session",
        "account, share and start of JupyterLab": "daas-agent: the session listens",
    }.items():
        await wait_for(lambda words=words: machines.says(server_id, words), BOOT_SECONDS, what=step)
        clock.tell(step)


async def test_a_machine_boots_runs_its_session_and_is_gone(
    running: Site, chromium: Browser, clock: Clock
) -> None:
    site, machines = running.stack, running.machines
    context = await chromium.new_context(viewport=DESKTOP, ignore_https_errors=True)
    context.set_default_timeout(120_000)
    bruno = FromOutside(site, await context.new_page())
    bruno.front = machines.front
    await bruno.enter(PERSON)
    name = await bruno.start(PROPOSAL, "Jupyter")
    clock.tell("sign in and ask for a session")
    hub_id = (site.folder / "state" / "hub-id").read_text()
    server, pid = await wait_for(lambda: machines.switched_on(hub_id), 600, what="the machine is on")
    assert len(traces(server.id, pid)) == 2
    clock.tell("built by the cloud")
    try:
        await watch(machines, server.id, clock)
        await bruno.page.wait_for_url(f"**/user/{PERSON}/{name}/lab/**")
        said = json.loads((await bruno.run_notebook(NOTEBOOK)).removeprefix("RESULT"))
        clock.tell("JupyterLab's page and a cell")
    finally:
        await bruno.page.screenshot(path=cache() / "vm-guest.png")
        console = machines.console(server.id)
    assert said == {**EXPECTED, "uid": uid_of(site)}
    # What a session says is for its machine's journal: others read the console.
    assert "ServerApp" not in console
    assert PERSON not in console
    written = site.folder / "data" / PROPOSAL / "processed" / "from-the-machine"
    assert (written.read_text(), written.stat().st_uid) == (COUNTS, uid_of(site))

    site.admin("DELETE", f"/users/{PERSON}/servers/{name}", json={"remove": True})
    await wait_for(lambda: not machines.things(hub_id), 120, what="neither server nor port is left")
    assert traces(server.id, pid) == []
    clock.tell("end of the session")
    assert bruno.faults == []
    await context.close()
