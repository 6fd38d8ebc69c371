"""Client of the account API."""

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.audit import AuditEvent, AuditRecord, DataAccess
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.proposals import Page


class ConditionsOfUse(Model):
    """The conditions of use in their present version."""

    version: str
    title: str
    text: str


class Names(Model):
    """A list of identifiers or usernames."""

    items: tuple[str, ...]


class AccountsClient(ServiceClient):
    """Conditions, acceptance, favourites, preferences, blocks, roles and the audit trail."""

    service = "accounts"

    async def standing(self, username: str, *, token: str | None = None) -> Standing:
        """Return what holds for a person when something is to start."""
        content = await self.call("GET", f"people/{segment(username)}/standing", token=token)
        return self.parse(Standing, content)

    async def conditions(self, *, token: str | None = None) -> ConditionsOfUse:
        """Return the conditions of use."""
        return self.parse(ConditionsOfUse, await self.call("GET", "conditions", token=token))

    async def accept(self, username: str, version: str, *, token: str | None = None) -> Standing:
        """Record that a person accepted a version of the conditions."""
        content = await self.call(
            "PUT", f"people/{segment(username)}/acceptance", body={"version": version}, token=token
        )
        return self.parse(Standing, content)

    async def favourites(self, username: str, *, token: str | None = None) -> tuple[str, ...]:
        """Return the identifiers of a person's favourite proposals."""
        content = await self.call("GET", f"people/{segment(username)}/favourites", token=token)
        return self.parse(Names, content).items

    async def set_favourite(
        self, username: str, identifier: str, *, favourite: bool, token: str | None = None
    ) -> None:
        """Make a proposal a favourite, or no longer one."""
        method = "PUT" if favourite else "DELETE"
        path = f"people/{segment(username)}/favourites/{segment(identifier)}"
        await self.call(method, path, token=token)

    async def blocked(self) -> tuple[str, ...]:
        """Return the usernames of everybody who is blocked."""
        return self.parse(Names, await self.call("GET", "blocked")).items

    # --- the audit trail

    async def record(self, event: AuditEvent) -> None:
        """Add an event to the audit trail; doing so twice is harmless."""
        await self.call("POST", "audit", body=event)

    async def events_of(
        self, username: str, *, offset: int = 0, limit: int = 50, token: str | None = None
    ) -> Page[AuditRecord]:
        """Return what was done by, for and to a person, the latest first."""
        content = await self.call(
            "GET", "audit", query={"person": username, "offset": offset, "limit": limit}, token=token
        )
        return self.parse(Page[AuditRecord], content)

    async def accesses(
        self, identifier: str, *, offset: int = 0, limit: int = 50, token: str | None = None
    ) -> Page[DataAccess]:
        """Return who had the data of a proposal in a session, the latest first."""
        path = f"proposals/{segment(identifier)}/accesses"
        content = await self.call("GET", path, query={"offset": offset, "limit": limit}, token=token)
        return self.parse(Page[DataAccess], content)
