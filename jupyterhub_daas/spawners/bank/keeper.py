"""Keep the bank: make the machines that its rules ask for, end those that are not to be kept, give them away.

Nothing is remembered here. Each round compares what the bank recorded with what the cloud has and with the
sessions that the hub knows, so that a hub that was killed anywhere leaves nothing that the next one does not
find: a record without a machine, a machine without a record, a machine whose session never came about.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from enum import Enum
from functools import partial
from typing import Protocol

from jupyterhub_daas.core.bank import Banked, BankPlace, MachineState, Tended
from jupyterhub_daas.errors import BackendError, DaasError, UpstreamError

log = logging.getLogger("jupyterhub_daas.spawners")


class Condition(str, Enum):
    """What a cloud says of a machine: it is coming, its agent has asked for a session, or it never will."""

    COMING = "coming"
    UP = "up"
    FAILED = "failed"


class Cloud(Protocol):
    """What the bank needs of a place where machines are."""

    async def image_of(self, profile: str) -> str:
        """Return what tells the profile's present image from all others, such as its digest."""

    async def machines(self) -> Mapping[str, Condition]:
        """Return the machines of this hub's bank by their ids; raise BackendError where that is not known."""

    async def make(self, machine_id: str, profile: str, image: str) -> None:
        """Make a machine of this id, without a person and without data; do nothing if it is there."""

    async def remove(self, machine_id: str) -> None:
        """Remove all that carries this id, and return when nothing of it is left."""


class Bank(Protocol):
    """What is needed of the bank's client."""

    async def machines(self, hub: str) -> tuple[Banked, ...]:
        """Return all machines of a hub."""

    async def tend(self, place: BankPlace) -> Tended:
        """Ask what has to be done."""

    async def claim(self, place: BankPlace, session_id: str) -> Banked | None:
        """Ask for a machine."""

    async def ready(self, machine_id: str) -> None:
        """Say that a machine is up."""

    async def end(self, machine_id: str) -> None:
        """Say that a machine has to end."""

    async def forget(self, machine_id: str) -> None:
        """Say that a machine is gone."""


class BankKeeper:
    """Keep one hub's machines of some profiles; `sessions` returns the ids of the sessions that it knows."""

    def __init__(
        self,
        *,
        hub_id: str,
        profiles: Collection[str],
        bank: Bank,
        cloud: Cloud,
        sessions: Callable[[], Collection[str]],
    ) -> None:
        self._hub_id, self._profiles = hub_id, tuple(profiles)
        self._bank, self._cloud, self._sessions = bank, cloud, sessions

    async def claim(self, profile: str, session_id: str) -> str | None:
        """Return the id of a machine that is this session's alone; None if it has to have one made.

        The session has to be known to the hub before this is called, or the next round ends its machine.
        """
        try:
            place = await self._place(profile)
            claimed = await self._bank.claim(place, session_id)
        except (UpstreamError, BackendError) as error:
            # A bank that is away makes a start slow, and never fails it.
            log.warning("The bank was not asked for session %s: %s", session_id, error.message)
            return None
        return None if claimed is None else claimed.machine_id

    async def release(self, machine_id: str) -> None:
        """End a machine whose session is over: it is never used a second time."""
        await self._bank.end(machine_id)
        await self._end(machine_id)

    async def round(self) -> None:
        """Bring bank and cloud in line once; what fails is tried again in the next round."""
        # In this order: whatever is made or claimed while we ask is in the later answers.
        there = await self._cloud.machines()
        records = await self._bank.machines(self._hub_id)
        sessions = frozenset(self._sessions())
        known = {each.machine_id for each in records}
        for machine_id in sorted(there.keys() - known):
            # Recorded before it is made and forgotten after it is gone: so nobody's.
            await self._try("remove", machine_id, partial(self._cloud.remove, machine_id))
        for record in records:
            follow = partial(self._follow, record, there, sessions)
            await self._try("follow", record.machine_id, follow)
        for profile in self._profiles:
            await self._try("tend", profile, partial(self._tend, profile))

    async def _follow(
        self, record: Banked, there: Mapping[str, Condition], sessions: Collection[str]
    ) -> None:
        """Do what a machine's record and its state in the cloud ask for."""
        machine_id, condition = record.machine_id, there.get(record.machine_id)
        if record.state is MachineState.ENDING:
            await self._end(machine_id)
        elif record.state is MachineState.CLAIMED:
            if record.session_id not in sessions:
                await self.release(machine_id)
        elif condition is Condition.FAILED or (condition is None and record.state is MachineState.IDLE):
            await self.release(machine_id)
        elif condition is None:
            # The hub was killed after it was recorded, or the cloud refused it.
            await self._cloud.make(machine_id, record.profile, record.image)
        elif condition is Condition.UP and record.state is MachineState.BUILDING:
            await self._bank.ready(machine_id)

    async def _tend(self, profile: str) -> None:
        tended = await self._bank.tend(await self._place(profile))
        for machine_id in tended.ended:
            await self._try("end", machine_id, partial(self._end, machine_id))
        for made in tended.made:
            make = partial(self._cloud.make, made.machine_id, made.profile, made.image)
            await self._try("make", made.machine_id, make)

    async def _end(self, machine_id: str) -> None:
        await self._cloud.remove(machine_id)
        await self._bank.forget(machine_id)

    async def _place(self, profile: str) -> BankPlace:
        image = await self._cloud.image_of(profile)
        return BankPlace(hub=self._hub_id, profile=profile, image=image)

    async def _try(self, what: str, key: str, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except DaasError as error:
            log.warning("The bank could not %s %s, and tries again: %s", what, key, error.message)
