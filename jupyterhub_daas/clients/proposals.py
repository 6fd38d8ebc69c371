"""Client of the proposal-data API."""

from collections.abc import Collection
from typing import TypeVar

from jupyterhub_daas.clients.base import ServiceClient, segment
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import Dataset, Member, Membership, Memberships, Mount, Page, Proposal

Item = TypeVar("Item", bound=Model)
MOST_PAIRS = 500


class Mounts(Model):
    """The folders of a proposal as one of its members gets them."""

    items: tuple[Mount, ...]


class Identities(Model):
    """The identities of a person."""

    items: tuple[Identity, ...]


class ProposalsClient(ServiceClient):
    """Whose proposals, with which members, datasets and mounts."""

    service = "proposals"

    async def person(self, username: str) -> Person:
        """Return a person of the facility, or raise NotFoundError."""
        return self.parse(Person, await self.call("GET", f"people/{segment(username)}"))

    async def person_of(self, identity: Identity) -> Person | None:
        """Return the person whom the facility linked to an identity."""
        query = {"issuer": identity.issuer, "subject": identity.subject}
        page = self.parse(Page[Person], await self.call("GET", "people", query=query))
        return page.items[0] if len(page.items) == 1 else None

    async def identities_of(self, username: str) -> tuple[Identity, ...]:
        """Return the identities that the facility linked to a person."""
        return self.parse(Identities, await self.call("GET", f"people/{segment(username)}/identities")).items

    async def held(self, asked: Collection[Membership]) -> frozenset[Membership]:
        """Return those of some memberships that hold; all are asked for in as few requests as may be."""
        pairs = tuple(asked)
        found: set[Membership] = set()
        for begin in range(0, len(pairs), MOST_PAIRS):
            part = Memberships(items=pairs[begin : begin + MOST_PAIRS])
            answer = await self.call("POST", "memberships", body=part)
            found.update(self.parse(Memberships, answer).items)
        return frozenset(found)

    async def proposals_of(
        self,
        username: str,
        *,
        search: str | None = None,
        instrument: str | None = None,
        state: str | None = None,
        identifiers: str | None = None,
        sort: str | None = None,
        offset: int = 0,
        limit: int = 20,
        token: str | None = None,
    ) -> Page[Proposal]:
        """Return some of a person's proposals."""
        content = await self.call(
            "GET",
            f"people/{segment(username)}/proposals",
            query={
                "search": search or None,
                "instrument": instrument or None,
                "state": state or None,
                "identifiers": identifiers,
                "sort": sort or None,
                "offset": offset,
                "limit": limit,
            },
            token=token,
        )
        return self.parse(Page[Proposal], content)

    async def proposal(self, identifier: str, *, token: str | None = None) -> Proposal:
        """Return a proposal, or raise NotFoundError."""
        content = await self.call("GET", f"proposals/{segment(identifier)}", token=token)
        return self.parse(Proposal, content)

    async def members(self, identifier: str, *, token: str | None = None) -> Page[Member]:
        """Return the members of a proposal."""
        content = await self.call("GET", f"proposals/{segment(identifier)}/members", token=token)
        return self.parse(Page[Member], content)

    async def datasets(
        self,
        identifier: str,
        *,
        search: str | None = None,
        offset: int = 0,
        limit: int = 20,
        token: str | None = None,
    ) -> Page[Dataset]:
        """Return some of a proposal's datasets."""
        content = await self.call(
            "GET",
            f"proposals/{segment(identifier)}/datasets",
            query={"search": search or None, "offset": offset, "limit": limit},
            token=token,
        )
        return self.parse(Page[Dataset], content)

    async def mounts(self, identifier: str, username: str, *, token: str | None = None) -> tuple[Mount, ...]:
        """Return the folders that a member gets; NotFoundError if that person is none."""
        content = await self.call(
            "GET", f"proposals/{segment(identifier)}/mounts", query={"username": username}, token=token
        )
        return self.parse(Mounts, content).items
