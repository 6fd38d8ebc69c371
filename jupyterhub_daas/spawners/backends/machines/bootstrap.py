"""How a machine gets its session: with a code that is good once, from its own address, within minutes.

The code is in the machine's user data, which every process there and every administrator of the cloud can
read; it is worth nothing once it was used, and nothing elsewhere. The agent that uses it names a secret of
its own making, with which alone it may say more. The hub keeps digests, and what the machine will fetch
sealed with the code, so that a hub that was restarted can go on, and whoever reads its database cannot.

A code that is used in another way is either a fault of ours or a theft: it is refused, and staff is told.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.errors import BackendUnavailableError, ConflictError, NotFoundError
from jupyterhub_daas.spawners.backends.machines.alarms import NO_MACHINE, Alarms, Misuse
from jupyterhub_daas.spawners.backends.machines.order import MachineOrder
from jupyterhub_daas.spawners.backends.ticket import Ticket, seal, unseal


class Ended(str, Enum):
    """Why an agent gave up, or its session's server ended."""

    SERVER = "server_ended"
    ACCOUNT = "account"
    MOUNT = "mount"
    COMMAND = "command"
    LISTEN = "not_listening"


class EndCall(Model):
    """The body with which an agent says that its session is over: a word of ours, no text of its own."""

    ended: Ended
    status: Annotated[int, Field(strict=True, ge=0, le=255)] = 0


class Pass(Model):
    """What is kept of a machine's right to a session; `until` in seconds of the epoch."""

    ticket: Ticket = Ticket()
    sealed: str = ""
    until: float = 0.0
    addresses: tuple[str, ...] = ()
    ended: EndCall | None = None


class Bootstrap:
    """One session's machine, as the hub knows it. `keep` is called whenever the state has to be stored."""

    def __init__(
        self,
        session_id: str,
        *,
        name: str,
        person: str,
        keep: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.session_id, self.name, self.person = session_id, name, person
        # Set whenever the machine said something; whoever waits for it clears it.
        self.changed = asyncio.Event()
        self._keep, self._clock = keep, clock
        self._pass = Pass()
        self._alarms = Alarms()

    # --- the backend's side

    def issue(self, order: MachineOrder, *, minutes: float, code: str | None = None) -> str:
        """Return the code for this order, good for so many minutes; only user data may hold it.

        `code` is the one that a machine has already; without it there is a new one.
        """
        ticket, code = Ticket.issue(code)
        self._pass = Pass(
            ticket=ticket,
            sealed=seal(order.model_dump(mode="json"), code),
            until=self._clock() + minutes * 60,
        )
        self._keep()
        return code

    def expect(self, addresses: Iterable[str]) -> None:
        """Say what the machine's own addresses are; before that it is told to wait."""
        wanted = tuple(sorted(str(ip_address(each)) for each in addresses))
        if wanted != self._pass.addresses:
            self._pass = self._pass.model_copy(update={"addresses": wanted})
            self._keep()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the machine's own addresses, as far as they are known."""
        return self._pass.addresses

    @property
    def fetched(self) -> bool:
        """Tell whether the machine has its session."""
        return bool(self._pass.ticket.secret)

    @property
    def port(self) -> int:
        """Return the port on which the machine said that its session listens; 0 before that."""
        return self._pass.ticket.port

    @property
    def ended(self) -> EndCall | None:
        """Return how the machine said that its session ended."""
        return self._pass.ended

    def dump(self) -> dict[str, Any]:
        """Return what a later hub process needs; no secret is in it."""
        return self._pass.model_dump(mode="json")

    def load(self, state: object) -> None:
        """Take over what an earlier hub process kept."""
        self._pass = Pass.model_validate(state or {})

    # --- the machine's side

    def redeem(self, code: str, secret: str, address: str) -> dict[str, Any]:
        """Return the order to the machine that has this code; again only to the same process of it."""
        kept = self._pass
        if not kept.sealed:
            raise NotFoundError(NO_MACHINE)
        if not kept.ticket.fits(code):
            raise self._alarms.misuse(Misuse.WRONG_CODE, address)
        if not kept.addresses:
            raise BackendUnavailableError("The machine's address is not known yet. Ask again in a moment.")
        try:
            ticket = kept.ticket.redeemed(code, secret)
        except ConflictError as error:
            raise self._alarms.misuse(Misuse.REPLAYED, address) from error
        self._check_address(address)
        if not kept.ticket.secret and self._clock() > kept.until:
            raise self._alarms.misuse(Misuse.LATE, address)
        self._become(ticket=ticket)
        return unseal(kept.sealed, code)

    def report(self, secret: str, port: int, address: str) -> None:
        """Take the port on which the session listens; a repeated call is harmless, another port is not."""
        self._check_secret(secret)
        self._check_address(address)
        if port != self._pass.ticket.port:
            self._become(ticket=self._pass.ticket.reported(secret, port))

    def end(self, secret: str, call: EndCall, address: str) -> None:
        """Take how the session ended."""
        self._check_secret(secret)
        self._check_address(address)
        if self._pass.ended is None:
            self._become(ended=call)

    def _become(self, **update: object) -> None:
        self._pass = self._pass.model_copy(update=update)
        # Before the answer leaves: what the machine was told must hold for the next hub process, too.
        self._keep()
        self.changed.set()

    def _check_secret(self, secret: str) -> None:
        if not self._pass.ticket.is_from(secret):
            raise NotFoundError(NO_MACHINE)

    def _check_address(self, address: str) -> None:
        if address not in self._pass.addresses:
            raise self._alarms.misuse(Misuse.FOREIGN_ADDRESS, address)
