"""The part of the waist that backends of whole machines add to it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from jupyterhub_daas.core.catalogue import Flavour, Profile
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.errors import BackendError, DaasError, SessionLostError
from jupyterhub_daas.spawners.backends.base import Backend
from jupyterhub_daas.spawners.backends.machines.bootstrap import Bootstrap
from jupyterhub_daas.spawners.backends.machines.idle import IdleMachines
from jupyterhub_daas.spawners.backends.machines.order import MachineOrder
from jupyterhub_daas.spawners.bank import BankKeeper, Cloud

log = logging.getLogger(__name__)

# So long a machine of the bank may take to fetch its session: it is on the line, or calls again in a moment.
CLAIM_SECONDS = 30.0


class BankedProfile(NamedTuple):
    """A profile of which the bank has machines, all of one flavour."""

    profile: Profile
    flavour: Flavour


class MachineChild(Protocol):
    """What is needed of a session: it keeps `machine_id`, its machine of the bank, in its state."""

    session_id: str
    machine_id: str
    bootstrap: Bootstrap


class MachineBackend(Backend):
    """A backend whose machines call the hub for their sessions.

    `bootstraps` are those of the sessions that are looked after, by session id, and by the machine's id for
    one of the bank: whoever builds or restores a child puts its one here, and takes it away when the session
    is over.
    """

    def __init__(self, *, hub_id: str, shared_account: bool, options: Mapping[str, Any]) -> None:
        super().__init__(hub_id=hub_id, shared_account=shared_account, options=options)
        self.bootstraps: dict[str, Bootstrap] = {}
        self.idle: IdleMachines | None = None
        self._keeper: BankKeeper | None = None
        # Session id -> its machine of the bank.
        self.claimed: dict[str, str] = {}
        self._banked: dict[str, BankedProfile] = {}

    # --- the bank

    def open_bank(self, idle: IdleMachines) -> Cloud:
        """Return the place where the machines of the bank are; `idle` has to be told which there are."""
        raise NotImplementedError

    def join_bank(
        self, key: bytes, profiles: Mapping[str, BankedProfile], build: Callable[[Cloud], BankKeeper]
    ) -> BankKeeper:
        """Keep machines of these profiles from now on; `key` is a secret that stays the same."""
        self._banked = dict(profiles)
        self.idle = IdleMachines(key)
        self._keeper = build(self.open_bank(self.idle))
        return self._keeper

    def banked_profile(self, key: str) -> BankedProfile:
        """Return a profile of which the bank has machines."""
        return self._banked[key]

    async def fit(self, machine_id: str, launch: Launch) -> None:
        """Do to a machine what could not be done before it was known who gets it; raise if that fails."""

    async def from_the_bank(
        self, child: MachineChild, launch: Launch, order: MachineOrder, wait: Callable[[], Awaitable[str]]
    ) -> str | None:
        """Return where a session listens on a machine of the bank; None if it has to have one made.

        `wait` returns that once the machine has said so.
        """
        if not await self._claim(child, launch, order):
            return None
        try:
            return await asyncio.wait_for(wait(), CLAIM_SECONDS)
        except (asyncio.TimeoutError, SessionLostError) as error:
            # It was up, and is not what it was: no reason for the person to have none.
            log.warning("Machine %s did not take session %s: %r", child.machine_id, child.session_id, error)
        await self._give_up(child)
        return None

    async def _claim(self, child: MachineChild, launch: Launch, order: MachineOrder) -> bool:
        banked = self._banked.get(launch.profile)
        if self._keeper is None or self.idle is None or banked is None or banked.flavour != launch.flavour:
            return False
        machine_id = await self._keeper.claim(launch.profile, launch.session_id)
        if machine_id is None:
            return False
        child.machine_id = self.claimed[child.session_id] = machine_id
        addresses = self.idle.addresses_of(machine_id)
        if not addresses:
            log.warning("Machine %s is not there for session %s", machine_id, launch.session_id)
            await self._give_up(child)
            return False
        try:
            await self.fit(machine_id, launch)
        except BackendError as error:
            log.warning("Machine %s is not fit for session %s: %s", machine_id, launch.session_id, error)
            await self._give_up(child)
            return False
        # Kept with the session before the machine hears of it.
        code = self.idle.code_of(machine_id)
        child.bootstrap.issue(order, minutes=CLAIM_SECONDS / 60, code=code)
        child.bootstrap.expect(addresses)
        # Only now: a call that comes while it is prepared must not find a session without an order.
        self.took(child, machine_id)
        self.idle.give(machine_id)
        return True

    async def _give_up(self, child: MachineChild) -> None:
        """End a machine that did not take its session."""
        machine_id, child.machine_id = child.machine_id, ""
        self.claimed.pop(child.session_id, None)
        self.bootstraps.pop(machine_id, None)
        if self._keeper is None:
            return
        try:
            await self._keeper.release(machine_id)
        except DaasError as error:
            # Found by a later round, when the session that it is recorded for is over.
            log.warning("Machine %s is ended later: %s", machine_id, error.message)

    def took(self, child: MachineChild, machine_id: str) -> None:
        """Note whose a machine of the bank is."""
        child.machine_id = machine_id
        self.claimed[child.session_id] = machine_id
        self.bootstraps[machine_id] = child.bootstrap

    def over(self, session_id: str) -> None:
        """Forget a session of which nothing is left."""
        self.bootstraps.pop(session_id, None)
        machine_id = self.claimed.pop(session_id, "")
        self.bootstraps.pop(machine_id, None)
        if self.idle is not None:
            self.idle.forget(machine_id)
