"""A cloud whose machines are processes of this computer, each at an address of its own, for tests of the hub.

Named by the ``class`` option of a test's hub. It keeps its machines in a folder, so that they outlive a hub
that is killed, as those of a cloud do. Machines of the environments named by the option ``guests`` run the
agent; the others do nothing, and a test speaks in their place.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from jupyterhub.spawner import Spawner
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode

from jupyterhub_daas.core.catalogue import Environment, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.errors import SessionLostError
from jupyterhub_daas.spawners import rows
from jupyterhub_daas.spawners.backends.base import parse_options
from jupyterhub_daas.spawners.backends.machines import (
    Bootstrap,
    MachineBackend,
    MachineSoftware,
    build_order,
    build_user_data,
    check_hub_url,
)
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines
from jupyterhub_daas.spawners.bank import Condition

GUEST = Path(__file__).with_name("guest.py")


class Options(Model):
    """Options of the backend."""

    folder: Path
    hub_url: str
    ca: str = ""
    guests: tuple[str, ...] = ()
    minutes: float = 5.0
    # Machines of one portal; several are on this computer at once.
    network: str = "127.20.0"


class ProcessBackend(MachineBackend):
    """Make, find and end such machines."""

    key = "process"
    keeps_machines = True

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.options = parse_options(Options, options, "DaasSpawner.backends.process")
        check_hub_url(self.options.hub_url, "DaasSpawner.backends.process.hub_url")

    def check_profile(self, profile: Profile, environment: Environment) -> None:
        """Check the software."""
        parse_options(MachineSoftware, profile.options, f"profiles.{profile.key}.options")

    def build_child(self, launch: Launch, given: Mapping[str, Any]) -> "ProcessSession":
        """Build the spawner of a new machine."""
        child = self.restore_child(launch.session_id, given)
        child.launch = launch
        child.start_timeout = 240
        return child

    def restore_child(self, session_id: str, given: Mapping[str, Any]) -> "ProcessSession":
        """Build the spawner of a machine that is there."""
        child = ProcessSession(backend=self, session_id=session_id, **given)
        self.bootstraps[session_id] = child.bootstrap
        return child

    def machine(self, session_id: str) -> Path:
        """Return the folder of a machine."""
        if session_id in self.claimed:
            return self.bank_folder / self.claimed[session_id]
        return self.options.folder / session_id

    @property
    def bank_folder(self) -> Path:
        """Return the folder of the bank's machines."""
        return self.options.folder.with_name("banked")

    def open_bank(self, idle: IdleMachines) -> "ProcessBank":
        """Return the place of the bank's machines."""
        self.bank_folder.mkdir(exist_ok=True)
        return ProcessBank(self, idle)

    async def things(self) -> frozenset[str]:
        """Return the machines of sessions that are there."""
        mine = {each.name for each in self.options.folder.iterdir()}
        return frozenset(mine | {each for each in self.claimed if self.machine(each).exists()})

    async def remove(self, session_id: str) -> None:
        """End a session's machine."""
        end_machine(self.machine(session_id))
        self.over(session_id)

    def make(self, folder: Path, user_data: str, *, guest: bool) -> None:
        """Make a machine."""
        places = [self.options.folder, *([self.bank_folder] if self.bank_folder.exists() else [])]
        taken = {file.read_text() for place in places for file in place.glob("*/address")}
        address = next(each for n in range(10, 250) if (each := f"{self.options.network}.{n}") not in taken)
        folder.mkdir(parents=True)
        (folder / "address").write_text(address)
        (folder / "user_data").write_text(user_data)
        if guest:
            with (folder / "console").open("wb") as console:
                running = subprocess.Popen(
                    [sys.executable, str(GUEST), str(folder / "user_data"), address, "--as-is"],
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            (folder / "pid").write_text(str(running.pid))


class ProcessBank:
    """Where the bank's machines are."""

    def __init__(self, backend: ProcessBackend, idle: IdleMachines) -> None:
        self._backend, self._idle = backend, idle

    async def image_of(self, profile: str) -> str:
        """Return what a test says that the image is."""
        return self._backend.options.folder.with_name("image").read_text()

    async def machines(self) -> Mapping[str, Condition]:
        """Return which there are."""
        found = {each.name: (each / "address").read_text() for each in self._backend.bank_folder.iterdir()}
        self._idle.expect({machine_id: (address,) for machine_id, address in found.items()})
        return {each: Condition.UP if self._idle.has_called(each) else Condition.COMING for each in found}

    async def make(self, machine_id: str, profile: str, image: str) -> None:
        """Make one."""
        folder = self._backend.bank_folder / machine_id
        if folder.exists():
            return
        options = self._backend.options
        user_data = build_user_data(
            hub_url=options.hub_url,
            session_id=machine_id,
            code=self._idle.code_of(machine_id),
            ca=options.ca,
        )
        self._backend.make(folder, user_data, guest=True)

    async def remove(self, machine_id: str) -> None:
        """End one."""
        end_machine(self._backend.bank_folder / machine_id)
        self._idle.forget(machine_id)


class ProcessSession(Spawner):  # type: ignore[misc]  # jupyterhub ships no types
    """The child spawner of one machine."""

    backend = AnyTrait()
    session_id = Unicode()
    launch = Instance(Launch, allow_none=True)

    def __init__(self, **given: Any) -> None:
        self.machine_id = ""
        super().__init__(**given)
        self.bootstrap = Bootstrap(
            self.session_id, name=self.name, person=self.user.name, keep=lambda: self._keep()
        )

    @property
    def _cloud(self) -> ProcessBackend:
        return cast("ProcessBackend", self.backend)

    def _keep(self) -> None:
        rows.keep_state(self, {**(self.orm_spawner.state or {}), "child": self.get_state()})

    async def start(self) -> str:
        """Make the machine and wait until it says that its session listens."""
        launch = self.launch
        if launch is None:
            raise SessionLostError("It runs already.")
        software = parse_options(MachineSoftware, launch.options, "options")
        home = str(self._cloud.options.folder.parent / "homes" / launch.person.username)
        order = build_order(launch, software, self.get_env(), groups={}, home=home)
        place = await self._cloud.from_the_bank(self, launch, order, self._wait)
        if place is not None:
            return place
        code = self.bootstrap.issue(order, minutes=self._cloud.options.minutes)
        user_data = build_user_data(
            hub_url=self._cloud.options.hub_url,
            session_id=self.session_id,
            code=code,
            ca=self._cloud.options.ca,
        )
        guest = launch.environment.key in self._cloud.options.guests
        self._cloud.make(self._cloud.machine(self.session_id), user_data, guest=guest)
        return await self._wait()

    async def _wait(self) -> str:
        address = (self._cloud.machine(self.session_id) / "address").read_text()
        self.bootstrap.expect([address])
        while not self.bootstrap.port:
            self.bootstrap.changed.clear()
            if self.bootstrap.ended:
                raise SessionLostError(f"The machine gave up: {self.bootstrap.ended.ended.value}.")
            await self.bootstrap.changed.wait()
        return f"http://{address}:{self.bootstrap.port}"

    async def poll(self) -> int | None:
        """Return None while the machine is there."""
        return None if self._cloud.machine(self.session_id).exists() and not self.bootstrap.ended else 0

    async def stop(self, now: bool = False) -> None:
        """End the machine."""
        await self._cloud.remove(self.session_id)

    async def get_url(self) -> str:
        """Return where the session is, after a restart of the hub once the machine has said so."""
        try:
            return f"{await self._wait()}{self.server.base_url}"
        except (SessionLostError, FileNotFoundError):
            return str(self.server.url)

    def get_state(self) -> dict[str, Any]:
        """Return what a later hub needs."""
        return {
            **super().get_state(),
            "machine_id": self.machine_id,
            "bootstrap": self.bootstrap.dump(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it over."""
        super().load_state(state)
        self.bootstrap.load(state.get("bootstrap"))
        if state.get("machine_id"):
            self._cloud.took(self, str(state["machine_id"]))


def given_to(machine: Path) -> dict[str, str]:
    """Return what a machine's user data tells its agent."""
    text = (machine / "user_data").read_text()
    config = json.loads(text.removeprefix("#cloud-config\n"))
    given: dict[str, str] = json.loads(config["write_files"][0]["content"])
    return given


def end_machine(folder: Path) -> None:
    """End a machine."""
    with suppress(OSError, ValueError):
        agent = int((folder / "pid").read_text())
        # The session is a group of its own: with a machine everything is gone at once.
        sessions = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        for group in (agent, *(int(each) for each in sessions)):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    for each in list(folder.iterdir()) if folder.exists() else []:
        each.unlink()
    if folder.exists():
        folder.rmdir()
