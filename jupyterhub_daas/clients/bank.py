"""Client of the bank's API."""

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.bank import Banked, BankedList, BankPlace, Claim, ClaimRequest, MachineState, Tended


class BankClient(ServiceClient):
    """A hub's machines."""

    service = "bank"

    async def machines(self, hub: str) -> tuple[Banked, ...]:
        """Return all machines of a hub."""
        return self.parse(BankedList, await self.call("GET", f"hubs/{segment(hub)}/machines")).items

    async def tend(self, place: BankPlace) -> Tended:
        """Ask what has to be done; machines that are to be made are recorded already."""
        return self.parse(Tended, await self.call("POST", "tend", body=place))

    async def claim(self, place: BankPlace, session_id: str) -> Banked | None:
        """Ask for a machine; None if none is ready."""
        body = ClaimRequest(place=place, session_id=session_id)
        return self.parse(Claim, await self.call("POST", "claims", body=body)).machine

    async def ready(self, machine_id: str) -> None:
        """Say that a machine is up."""
        await self._change(machine_id, MachineState.IDLE)

    async def end(self, machine_id: str) -> None:
        """Say that a machine has to end."""
        await self._change(machine_id, MachineState.ENDING)

    async def forget(self, machine_id: str) -> None:
        """Say that a machine is gone."""
        await self.call("DELETE", f"machines/{segment(machine_id)}")

    async def _change(self, machine_id: str, state: MachineState) -> None:
        await self.call("PATCH", f"machines/{segment(machine_id)}", body={"state": state.value})
