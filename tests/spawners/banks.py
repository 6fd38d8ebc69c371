"""Portals with a bank: what its tests ask of one, and one whose machines are processes of this computer."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from jupyterhub_daas.core.bank import Banked, BankedList, MachineState
from tests.spawners.portal import Portal
from tests.spawners.test_machine_callback import machine_portal, machine_settings
from tests.support.labs import Labs
from tests.support.waiting import wait_until

IDLE = 2
RULE = {"idle": IDLE, "most": 6, "per_minute": 1000}
NETWORK = "127.20.1"


class Bank(ABC):
    """A portal with its machines. Those who call from `elsewhere` are none of them."""

    elsewhere: str

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def machines(self) -> tuple[Banked, ...]:
        """Return what the bank has recorded."""
        answer = self.portal.stack.call("bank", "GET", f"hubs/{self.portal.hub_id}/machines")
        answer.raise_for_status()
        return BankedList.model_validate(answer.json()).items

    def of(self, state: MachineState) -> set[str]:
        """Return the machines in one state."""
        return {each.machine_id for each in self.machines() if each.state is state}

    @abstractmethod
    def there(self) -> set[str]:
        """Return the machines that there are."""

    @abstractmethod
    def place(self, machine_id: str) -> Path:
        """Return the folder with what a machine was given, and with what it wrote."""

    @abstractmethod
    def kill(self, machine_id: str) -> None:
        """End a machine as a power cut would."""

    @abstractmethod
    def image(self) -> str:
        """Return the digest of the profile's present image."""

    @abstractmethod
    def take_first_image(self) -> None:
        """Have the profile's image be the one with which the portal began."""

    @abstractmethod
    def take_next_image(self) -> None:
        """Have another image take its place, and the hub know of it."""

    def left(self) -> set[str]:
        """Return what is left of the bank, of whatever kind."""
        return self.there()

    @contextmanager
    def keeping(self, idle: int) -> Iterator[None]:
        """Have the facility keep another number of machines for a while."""
        file = self.portal.stack.folder / "daas.yaml"
        before = file.read_text()
        changed = yaml.safe_load(before)
        changed["bank"]["agent"]["idle"] = idle
        self._restart_with(file, yaml.safe_dump(changed, sort_keys=False))
        try:
            yield
        finally:
            self._restart_with(file, before)

    def _restart_with(self, file: Path, text: str) -> None:
        self.portal.stack.stop_hub()
        file.write_text(text)
        self.portal.stack.start_hub()

    def rounds(self) -> int:
        """Return how often the hub has looked after the bank."""
        return self.portal.stack.log().count("POST /services/bank/api/v1/tend")

    def is_full(self) -> bool:
        """Tell whether as many wait as are wanted, of the present image, and nothing else is about."""
        machines = self.machines()
        idle = {each.machine_id for each in machines if each.state is MachineState.IDLE}
        made_of = {each.image for each in machines}
        return len(idle) == len(machines) == IDLE and made_of == {self.image()} and self.there() == idle

    def wait_full(self) -> set[str]:
        """Wait for it; return the machines."""
        wait_until(self.is_full, 60, what="the bank is full")
        return self.of(MachineState.IDLE)

    @abstractmethod
    def made(self) -> set[str]:
        """Return the sessions that had a machine made for them."""


class ProcessBank(Bank):
    """One whose machines are processes of this computer."""

    elsewhere = f"{NETWORK}.99"

    def __init__(self, portal: Portal) -> None:
        super().__init__(portal)
        self._folder = portal.stack.folder

    def there(self) -> set[str]:
        """Return the machines that there are."""
        return {each.name for each in (self._folder / "banked").iterdir()}

    def made(self) -> set[str]:
        """Return the sessions that had a machine made for them."""
        return {each.name for each in (self._folder / "machines").iterdir()}

    def place(self, machine_id: str) -> Path:
        """Return a machine's folder."""
        return self._folder / "banked" / machine_id

    def kill(self, machine_id: str) -> None:
        """End its processes."""
        os.killpg(int((self.place(machine_id) / "pid").read_text()), signal.SIGKILL)

    def image(self) -> str:
        """Return what the backend's file names."""
        return (self._folder / "image").read_text()

    def take_first_image(self) -> None:
        """Name the image in the backend's file."""
        (self._folder / "image").write_text("sha256:1")

    def take_next_image(self) -> None:
        """Name another one."""
        (self._folder / "image").write_text("sha256:2")


@contextmanager
def processes(folder: Path, labs: Labs) -> Iterator[Bank]:
    """Yield a portal whose machines are processes."""
    whole = machine_settings()
    whole["profiles"] = {"agent": {**whole["profiles"]["agent"], "flavours": ["small", "medium"]}}
    whole["environments"] = {"agent": whole["environments"]["agent"]}
    whole["bank"] = {"agent": RULE}
    (folder / "stack").mkdir()
    (folder / "stack" / "image").write_text("sha256:1")
    with machine_portal(folder, whole, guests=["agent"], network=NETWORK) as portal:
        yield ProcessBank(portal)
