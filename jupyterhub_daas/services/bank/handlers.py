"""The bank's API: who may ask, one call, one answer. It is for hubs, not for people."""

from http import HTTPStatus

from jupyterhub_daas.core.bank import BankedList, BankPlace, ClaimRequest, MachineChange, MachineState
from jupyterhub_daas.core.names import matches
from jupyterhub_daas.errors import InvalidInputError, NotFoundError
from jupyterhub_daas.services.application import Route
from jupyterhub_daas.services.bank.metrics import count_claim
from jupyterhub_daas.services.bank.store import BankStore
from jupyterhub_daas.services.handlers import ApiHandler

WRITE = "custom:daas:bank:write"
MACHINE_ID, HUB = r"^[0-9a-f]{16}$", r"^[A-Za-z0-9._-]{1,64}$"


class _BankHandler(ApiHandler):
    def initialize(self) -> None:
        self.store: BankStore = self.settings["store"]

    async def prepare(self) -> None:
        """Let only hubs in."""
        await super().prepare()
        self.require(WRITE)

    def machine_id(self, text: str) -> str:
        """Return a machine's id, or refuse what is none."""
        if not matches(MACHINE_ID, text):
            raise NotFoundError("There is nothing here for you.")
        return text


class MachinesHandler(_BankHandler):
    """A hub's machines."""

    async def get(self, hub: str) -> None:
        """List them."""
        if not matches(HUB, hub):
            raise InvalidInputError("This can't be the id of a hub.", field="hub")
        self.answer(BankedList(items=await self.store.list_machines(hub)))


class TendHandler(_BankHandler):
    """What has to be done."""

    async def post(self) -> None:
        """Decide and record it."""
        self.answer(await self.store.tend(self.body(BankPlace)))


class ClaimsHandler(_BankHandler):
    """Machines for sessions."""

    async def post(self) -> None:
        """Give one away."""
        request = self.body(ClaimRequest)
        claim = await self.store.claim(request.place, request.session_id)
        count_claim(request.place.profile, claim)
        self.answer(claim)


class MachineHandler(_BankHandler):
    """One machine."""

    async def patch(self, machine_id: str) -> None:
        """Note that it is up, or has to end."""
        change = self.body(MachineChange)
        known = self.machine_id(machine_id)
        ready = change.state is MachineState.IDLE
        self.answer(await (self.store.ready(known) if ready else self.store.end(known)))

    async def delete(self, machine_id: str) -> None:
        """Forget it."""
        await self.store.forget(self.machine_id(machine_id))
        self.answer(None, HTTPStatus.NO_CONTENT)


ROUTES: list[Route] = [
    (r"api/v1/hubs/([^/]+)/machines", MachinesHandler),
    (r"api/v1/tend", TendHandler),
    (r"api/v1/claims", ClaimsHandler),
    (r"api/v1/machines/([^/]+)", MachineHandler),
]
