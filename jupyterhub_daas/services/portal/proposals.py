"""A person's proposals: the list with its search, and the page of each."""

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.audit import DataAccess, Stretch
from jupyterhub_daas.core.names import Identifier
from jupyterhub_daas.core.proposals import Page, Proposal
from jupyterhub_daas.errors import UpstreamError
from jupyterhub_daas.services.handlers import ApiHandler
from jupyterhub_daas.services.portal.offers import environments_for
from jupyterhub_daas.services.portal.pages import Clients, PageHandler
from jupyterhub_daas.services.portal.recent import Account

PAGE = 20
DATASETS = 20
ACCESSES = 5
MAX_FAVOURITES = 100
COLUMNS = ("identifier", "title", "abstract", "instrument", "state")
NO_FOLDER = (
    "The facility has recorded no folder with data for this proposal yet: a session starts, but finds no "
    "data. Ask your local contact."
)
PageNumber = Annotated[int, Field(ge=1, le=100_000)]


class _Filter(BaseModel):
    """What the list is asked for."""

    search: Annotated[str, Field(max_length=200)] = ""
    sort: Annotated[str, Field(pattern=rf"^-?({'|'.join(COLUMNS)})$")] = "-identifier"
    favourites: bool = False
    page: PageNumber = 1

    def address(self, **changes: Any) -> str:
        """Return the query of the same list with something changed."""
        # Validated by nobody, but made of what was; a value that goes back to the default leaves the address.
        changed = self.model_copy(update=changes).model_dump(mode="json", exclude_defaults=True)
        return "?" + urlencode({name: "true" if value is True else value for name, value in changed.items()})

    def sorted_by(self, column: str) -> str:
        """Return the query with another order: the same column again turns it round."""
        return self.address(sort=f"-{column}" if self.sort == column else column, page=1)

    def direction(self, column: str) -> str:
        """Return the order of a column as aria-sort says it."""
        return {column: "ascending", f"-{column}": "descending"}.get(self.sort, "")


class ProposalsHandler(PageHandler):
    """List the person's proposals."""

    async def get(self) -> None:
        """Show one page of the list."""
        asked = self.fields(_Filter)
        (standing, favourites), proposals = await self._ask(asked)
        if self.asks_for_conditions(standing, self.request.uri or ""):
            return
        catalogue, now = self.facility_settings.catalogue, self.now
        self.page(
            "proposals.html",
            current="proposals",
            asked=asked,
            columns=COLUMNS,
            proposals=proposals.items,
            total=proposals.total,
            first=(asked.page - 1) * PAGE,
            pages=max(1, -(-proposals.total // PAGE)),
            favourites=frozenset(favourites),
            blocked=standing.blocked,
            offered={
                each.identifier: environments_for(catalogue, each, standing.roles_for(each, now))
                for each in proposals.items
            },
        )

    async def _ask(self, asked: _Filter) -> tuple[Account, Page[Proposal]]:
        account = self.clients.recent.account(self.me, self.token)
        if not asked.favourites:
            return await asyncio.gather(account, self._proposals(asked, None))
        known = await account
        if not known.favourites:
            return known, Page[Proposal](items=(), total=0)
        return known, await self._proposals(asked, ",".join(known.favourites[:MAX_FAVOURITES]))

    async def _proposals(self, asked: _Filter, identifiers: str | None) -> Page[Proposal]:
        return await self.clients.proposals.proposals_of(
            self.me,
            search=asked.search,
            identifiers=identifiers,
            sort=asked.sort,
            offset=(asked.page - 1) * PAGE,
            limit=PAGE,
            token=self.token,
        )


class _Part(BaseModel):
    """Which part of the datasets is asked for."""

    search: Annotated[str, Field(max_length=200)] = ""
    page: PageNumber = 1


class ProposalHandler(PageHandler):
    """Show one proposal."""

    async def get(self, identifier: str) -> None:
        """Show its members, experiments, datasets and quota, and how to start."""
        asked = self.fields(_Part)
        client: ProposalsClient = self.clients.proposals
        token = self.token
        proposal, members, datasets, notice, quota, (favourites, standing, accesses) = await asyncio.gather(
            client.proposal(identifier, token=token),
            client.members(identifier, token=token),
            client.datasets(
                identifier,
                search=asked.search,
                offset=(asked.page - 1) * DATASETS,
                limit=DATASETS,
                token=token,
            ),
            self._data_notice(identifier),
            self.clients.quotas.quota_of_proposal(identifier, token=token),
            self._of_accounts(identifier),
        )
        if self.asks_for_conditions(standing, self.request.uri or ""):
            return
        roles = standing.roles_for(proposal, self.now)
        self.page(
            "proposal.html",
            current="proposals",
            proposal=proposal,
            members=members.items,
            names={each.username: each.display_name for each in members.items},
            accesses=accesses,
            datasets=datasets,
            notice=notice,
            asked=asked,
            first=(asked.page - 1) * DATASETS,
            pages=max(1, -(-datasets.total // DATASETS)),
            quota=quota,
            embargoed=proposal.embargo_until is not None and proposal.embargo_until > self.now,
            instruments={each.name: each.title for each in proposal.instruments},
            favourite=identifier in favourites,
            blocked=standing.blocked,
            offered=environments_for(self.facility_settings.catalogue, proposal, roles),
        )

    async def _data_notice(self, identifier: str) -> str:
        """Return what a person should know of the folder of data before she starts a session."""
        try:
            mounts = await self.clients.proposals.mounts(identifier, self.me, token=self.token)
        except UpstreamError as error:
            # The page shows the rest all the same; a start says it too.
            return error.message
        return "" if mounts else NO_FOLDER

    async def _of_accounts(self, identifier: str) -> tuple[tuple[str, ...], Standing, Stretch[DataAccess]]:
        accounts, token = self.clients.accounts, self.token
        return await asyncio.gather(
            accounts.favourites(self.me, token=token),
            accounts.standing(self.me, token=token),
            accounts.accesses(identifier, limit=ACCESSES, token=token),
        )


class _Star(BaseModel):
    identifier: Identifier
    wanted: Literal["yes", "no"]
    next: Annotated[str, Field(max_length=2000)] = ""


class FavouriteFormHandler(PageHandler):
    """Make a proposal a favourite or not, for a browser without script."""

    async def post(self) -> None:
        """Change it and go back."""
        star = self.fields(_Star)
        await self.clients.accounts.set_favourite(
            self.me, star.identifier, favourite=star.wanted == "yes", token=self.token
        )
        self.clients.recent.forget(self.me)
        self.see_other(self.own_address(star.next))


class FavouriteHandler(ApiHandler):
    """Make a proposal a favourite or not, for the page's script."""

    async def put(self, identifier: str) -> None:
        """Make it a favourite."""
        await self._set(identifier, favourite=True)

    async def delete(self, identifier: str) -> None:
        """Make it none."""
        await self._set(identifier, favourite=False)

    async def _set(self, identifier: str, *, favourite: bool) -> None:
        self.require_person(self.caller.name)
        clients: Clients = self.settings["clients"]
        await clients.accounts.set_favourite(
            self.caller.name, identifier, favourite=favourite, token=str(self.hub_auth.get_token(self))
        )
        clients.recent.forget(self.caller.name)
        self.answer(None, 204)
