"""Machines of the bank: up, and holding the line to the hub until there is a session for them.

Nothing of them is kept. The code in a machine's user data follows from the machine's id and a key of the hub,
so that a hub that was restarted knows it again when the machine's agent calls anew.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from jupyterhub_daas.errors import BackendUnavailableError, NotFoundError
from jupyterhub_daas.spawners.backends.machines.alarms import NO_MACHINE, Alarms, Misuse

# So long a call is held: less than proxies between machine and hub allow, and than the agent waits.
HOLD_SECONDS = 25.0


@dataclass
class _Idle:
    addresses: tuple[str, ...]
    secret: str = ""
    given: asyncio.Event = field(default_factory=asyncio.Event)
    alarms: Alarms = field(default_factory=Alarms)


class IdleMachines:
    """The machines of one backend that wait for a session."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._machines: dict[str, _Idle] = {}

    def code_of(self, machine_id: str) -> str:
        """Return the code of a machine; only its user data may hold it."""
        return hmac.new(self._key, f"machine {machine_id}".encode(), hashlib.sha256).hexdigest()

    def expect(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """Say which machines there are, and at which addresses; others are forgotten."""
        for gone in self._machines.keys() - addresses.keys():
            self.forget(gone)
        for machine_id, found in addresses.items():
            wanted = tuple(sorted(str(ip_address(each)) for each in found))
            self._machines.setdefault(machine_id, _Idle(wanted)).addresses = wanted

    def forget(self, machine_id: str) -> None:
        """Forget a machine that ends; whoever is on the line hears that it is not known."""
        gone = self._machines.pop(machine_id, None)
        if gone is not None:
            gone.given.set()

    def addresses_of(self, machine_id: str) -> tuple[str, ...]:
        """Return where a machine is; empty if that is not known."""
        found = self._machines.get(machine_id)
        return found.addresses if found else ()

    def has_called(self, machine_id: str) -> bool:
        """Tell whether a machine is up: its agent has called this hub process."""
        found = self._machines.get(machine_id)
        return bool(found and found.secret)

    def give(self, machine_id: str) -> None:
        """Let a machine fetch what there is for it now."""
        self._machines[machine_id].given.set()

    def may_know(self, machine_id: str, code: str) -> bool:
        """Tell whether this is where a machine calls: it is known, or its code is right."""
        return machine_id in self._machines or self._fits(machine_id, code)

    def _fits(self, machine_id: str, code: str) -> bool:
        return hmac.compare_digest(self.code_of(machine_id).encode(), code.encode())

    async def hold(self, machine_id: str, code: str, secret: str, address: str) -> None:
        """Return when there is a session for a machine, or after a while; refuse whoever is not it."""
        found = self._machines.get(machine_id)
        if not self._fits(machine_id, code):
            if found is None:
                raise NotFoundError(NO_MACHINE)
            raise found.alarms.misuse(Misuse.WRONG_CODE, address)
        if found is None or not found.addresses:
            raise BackendUnavailableError("The machine's address is not known yet. Ask again in a moment.")
        if address not in found.addresses:
            raise found.alarms.misuse(Misuse.FOREIGN_ADDRESS, address)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        if found.secret and found.secret != digest:
            raise found.alarms.misuse(Misuse.REPLAYED, address)
        found.secret = digest
        try:
            await asyncio.wait_for(found.given.wait(), HOLD_SECONDS)
        except asyncio.TimeoutError:
            return
