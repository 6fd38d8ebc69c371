"""Client of the account API."""

from collections.abc import AsyncGenerator, Mapping

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.access_requests import AccessRequest, AskedAccess, RequestState
from jupyterhub_daas.core.audit import AuditEvent, AuditRecord, DataAccess, Stretch, TrailState
from jupyterhub_daas.core.links import Link, Owner
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Identity, RoleGrant


class ConditionsOfUse(Model):
    """The conditions of use in their present version."""

    version: str
    title: str
    text: str


class Names(Model):
    """A list of identifiers or usernames."""

    items: tuple[str, ...]


class Links(Model):
    """A person's identities."""

    items: tuple[Link, ...]


class Changed(Model):
    """Whether a request changed anything."""

    changed: bool


class AccessRequests(Model):
    """Some requests for access; `next` is where the earlier ones begin."""

    items: tuple[AccessRequest, ...]
    next: int | None = None


class AccountsClient(ServiceClient):
    """Conditions, favourites, preferences, blocks, roles, identities, requests for access, audit trail."""

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

    # --- identities

    async def owner_of(self, identity: Identity) -> Owner:
        """Return whose an identity is."""
        return self.parse(Owner, await self.call("GET", "identities", query=identity.model_dump()))

    async def links_of(self, username: str, *, token: str | None = None) -> tuple[Link, ...]:
        """Return a person's identities."""
        content = await self.call("GET", f"people/{segment(username)}/identities", token=token)
        return self.parse(Links, content).items

    async def link(self, username: str, identity: Identity, *, proven_with: Identity) -> None:
        """Link an identity that a person proved, while signed in with another."""
        body = {**identity.model_dump(), "proven_with": proven_with.model_dump()}
        await self.call("PUT", f"people/{segment(username)}/identities", body=body)

    async def unlink(self, username: str, identity: Identity, *, proven_with: Identity) -> None:
        """Take an identity from a person who wants that."""
        body = {**identity.model_dump(), "proven_with": proven_with.model_dump()}
        await self.call("POST", f"people/{segment(username)}/identities/unlink", body=body)

    async def set_entitled_roles(
        self, username: str, identity: Identity, roles: tuple[RoleGrant, ...]
    ) -> bool:
        """Keep the roles that the entitlements of an identity give; tell whether that changed any."""
        given = [each.model_dump(mode="json", include={"role", "instruments"}) for each in roles]
        body = {"identity": identity.model_dump(), "roles": given}
        content = await self.call("PUT", f"people/{segment(username)}/entitled-roles", body=body)
        return self.parse(Changed, content).changed

    # --- requests for access

    async def ask_access(self, asked: AskedAccess) -> AccessRequest:
        """Keep a request for access of somebody who proved who she is."""
        return self.parse(AccessRequest, await self.call("POST", "access-requests", body=asked))

    async def last_request_of(self, identity: Identity) -> AccessRequest | None:
        """Return the last request that came from an identity."""
        query = {**identity.model_dump(), "limit": 1}
        content = await self.call("GET", "access-requests", query=query)
        return next(iter(self.parse(AccessRequests, content).items), None)

    async def access_requests(
        self, *, state: RequestState | None, limit: int = 50, before: int | None = None, token: str
    ) -> AccessRequests:
        """Return some requests, the latest first, to staff."""
        query = {"state": state.value if state else None, "limit": limit, "before": before}
        return self.parse(AccessRequests, await self.call("GET", "access-requests", query=query, token=token))

    async def answer_request(
        self, number: int, verdict: str, body: Mapping[str, object], *, token: str
    ) -> AccessRequest:
        """Answer a request as staff; `verdict` is ``accept`` or ``decline``, `body` as in the API."""
        content = await self.call("POST", f"access-requests/{number}/{verdict}", body=body, token=token)
        return self.parse(AccessRequest, content)

    # --- the audit trail

    async def record(self, event: AuditEvent) -> None:
        """Add an event to the audit trail; doing so twice is harmless."""
        await self.call("POST", "audit", body=event)

    async def events(
        self, query: Mapping[str, str | None], *, limit: int = 50, token: str | None = None
    ) -> Stretch[AuditRecord]:
        """Return some events, the latest first; `query` has the filters of the API, and `before`.

        A person without the scope gets those about herself, with her own username as `person`.
        """
        content = await self.call("GET", "audit", query={**query, "limit": limit}, token=token)
        return self.parse(Stretch[AuditRecord], content)

    async def trail_state(self, *, token: str | None = None) -> TrailState:
        """Return the head of the trail, and whether its latest events hold together."""
        return self.parse(TrailState, await self.call("GET", "audit/state", token=token))

    def export(
        self, query: Mapping[str, str | None], *, token: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of an interval as JSON lines; raise if they end before their end."""
        return self.stream("audit/export", query=query, token=token)

    async def accesses(
        self, identifier: str, *, before: str | None = None, limit: int = 50, token: str | None = None
    ) -> Stretch[DataAccess]:
        """Return who had the data of a proposal in a session, the latest first."""
        path = f"proposals/{segment(identifier)}/accesses"
        content = await self.call("GET", path, query={"before": before, "limit": limit}, token=token)
        return self.parse(Stretch[DataAccess], content)
