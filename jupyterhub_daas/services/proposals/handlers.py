"""The proposal-data API: a person sees her own; services and staff with the scope see everybody's.

Whoever sees a proposal as member, or as scientist of its instrument, may have its folders in a session. The
embargo does not keep a team from its own data.
"""

import asyncio
import logging
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import IDENTIFIER, USERNAME, Identifier, Slug, matches
from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import Memberships, Mount, MountMode, Page, ProposalState
from jupyterhub_daas.errors import NotFoundError, UpstreamAnswerError
from jupyterhub_daas.services.handlers import ApiHandler
from jupyterhub_daas.services.proposals.folding import words
from jupyterhub_daas.services.proposals.listing import SORT_COLUMNS, Listing
from jupyterhub_daas.services.proposals.roots import OutsideRootsError, Roots
from jupyterhub_daas.services.proposals.store import DirectoryStore

log = logging.getLogger("jupyterhub_daas.services.proposals")

PEOPLE = "custom:daas:people:read"
PROPOSALS = "custom:daas:proposals:read"
MAX_SEARCH = 200
MAX_OFFSET = 10_000_000
FOLDERS = (("raw", MountMode.READ_ONLY), ("processed", MountMode.READ_WRITE))
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


def _number(text: Any) -> Any:
    if isinstance(text, str) and not _NUMBER.fullmatch(text):
        raise ValueError("must be a whole number")
    return text


def _identifiers(text: Any) -> Any:
    return tuple(text.split(",")) if isinstance(text, str) and text else () if text == "" else text


Search = Annotated[str, Field(max_length=MAX_SEARCH)]
Offset = Annotated[int, BeforeValidator(_number), Field(ge=0, le=MAX_OFFSET)]
Limit = Annotated[int, BeforeValidator(_number), Field(ge=1, le=100)]
Sort = Literal[
    "identifier", "title", "abstract", "instrument", "state",
    "-identifier", "-title", "-abstract", "-instrument", "-state",
]  # fmt: skip


class ListQuery(Model):
    """Which of a person's proposals."""

    search: Search = ""
    instrument: Slug | None = None
    state: ProposalState | None = None
    identifiers: (
        Annotated[tuple[Identifier, ...], BeforeValidator(_identifiers), Field(max_length=100)] | None
    ) = None
    sort: Sort = "identifier"
    offset: Offset = 0
    limit: Limit = 20

    def listing(self) -> Listing:
        """Return what the store is asked."""
        return Listing(
            words=words(self.search),
            instrument=self.instrument,
            state=self.state,
            identifiers=self.identifiers,
            column=SORT_COLUMNS[self.sort.removeprefix("-")],
            descending=self.sort.startswith("-"),
            offset=self.offset,
            limit=self.limit,
        )


class DatasetsQuery(Model):
    """Which of a proposal's datasets."""

    search: Search = ""
    offset: Offset = 0
    limit: Limit = 20


class MountsQuery(Model):
    """For whom the folders are."""

    username: Annotated[str, Field(max_length=100)]


class Mounts(Model):
    """The folders of a proposal as one of its members gets them."""

    items: tuple[Mount, ...]


class Identities(Model):
    """The identities of a person."""

    items: tuple[Identity, ...]


class DirectoryHandler(ApiHandler):
    """Share what the routes have in common."""

    @property
    def store(self) -> DirectoryStore:
        """Return the store."""
        store: DirectoryStore = self.settings["store"]
        return store

    def require_name(self, pattern: str, text: str) -> None:
        """Go on only for a text that can be a name here: what can't be is absent."""
        if not matches(pattern, text):
            raise NotFoundError("There is nothing here for you.")

    def viewer(self) -> str | None:
        """Return as whom the caller sees proposals; None sees all."""
        if self.caller.has(PROPOSALS):
            return None
        if self.caller.kind != "user":
            raise NotFoundError("There is nothing here for you.")
        return self.caller.name


class PeopleHandler(DirectoryHandler):
    """Who an identity is, for whoever lets people in."""

    async def get(self) -> None:
        """Answer with the one person, or none."""
        self.require(PEOPLE)
        identity = self.query(Identity)
        # Nobody has such an identity, and not every database takes the character.
        known = "\0" not in identity.issuer + identity.subject
        person = await self.store.person_of(identity) if known else None
        items = () if person is None else (person,)
        self.answer(Page[Person](items=items, total=len(items)))


class PersonHandler(DirectoryHandler):
    """One person."""

    async def get(self, username: str) -> None:
        """Answer with the person."""
        self.require_person(username, PEOPLE)
        self.require_name(USERNAME, username)
        self.answer(await self.store.person(username))


class PersonIdentitiesHandler(DirectoryHandler):
    """The identities that the facility linked to a person."""

    async def get(self, username: str) -> None:
        """Answer with all of them."""
        self.require(PEOPLE)
        self.require_name(USERNAME, username)
        self.answer(Identities(items=await self.store.identities_of(username)))


class MembershipsHandler(DirectoryHandler):
    """Who still is on what: for whoever ends sessions of those who are not."""

    async def post(self) -> None:
        """Answer with those of the given pairs that hold."""
        self.require(PROPOSALS)
        self.answer(Memberships(items=await self.store.held(self.body(Memberships).items)))


class PersonProposalsHandler(DirectoryHandler):
    """The proposals that a person sees."""

    async def get(self, username: str) -> None:
        """Answer with one page of them."""
        self.require_person(username, PROPOSALS)
        self.require_name(USERNAME, username)
        self.answer(await self.store.proposals_of(username, self.query(ListQuery).listing()))


class ProposalHandler(DirectoryHandler):
    """One proposal."""

    async def get(self, identifier: str) -> None:
        """Answer with the proposal."""
        viewer = self.viewer()
        self.require_name(IDENTIFIER, identifier)
        self.answer(await self.store.proposal(identifier, viewer))


class MembersHandler(DirectoryHandler):
    """Who is on a proposal."""

    async def get(self, identifier: str) -> None:
        """Answer with the members."""
        viewer = self.viewer()
        self.require_name(IDENTIFIER, identifier)
        self.answer(await self.store.members(identifier, viewer))


class DatasetsHandler(DirectoryHandler):
    """What was measured for a proposal."""

    async def get(self, identifier: str) -> None:
        """Answer with one page of the datasets."""
        viewer = self.viewer()
        self.require_name(IDENTIFIER, identifier)
        asked = self.query(DatasetsQuery)
        page = await self.store.datasets(
            identifier, viewer, words=words(asked.search), offset=asked.offset, limit=asked.limit
        )
        self.answer(page)


class MountsHandler(DirectoryHandler):
    """The folders of a proposal that a session gets."""

    async def get(self, identifier: str) -> None:
        """Answer with them, every link followed now."""
        username = self.query(MountsQuery).username
        self.require_person(username, PROPOSALS)
        self.require_name(IDENTIFIER, identifier)
        self.require_name(USERNAME, username)
        folder = await self.store.folder_of(identifier, username)
        if folder is None:
            self.answer(Mounts(items=()))
            return
        try:
            # Folders may lie on a file system that is slow to look at.
            items = await asyncio.to_thread(mounts_of, self.settings["roots"], folder, identifier)
        except OutsideRootsError as error:
            log.error("The folder of proposal %s %s: no session gets it", identifier, error)
            raise UpstreamAnswerError(
                "The data of this proposal is not where the facility keeps data. Please tell the support.",
                service="directory",
            ) from error
        self.answer(Mounts(items=items))


def mounts_of(roots: Roots, folder: str, identifier: str) -> tuple[Mount, ...]:
    """Return the mounts of a proposal's folder, or raise if one leads out of the roots."""
    return tuple(
        Mount(source=roots.resolve(f"{folder}/{name}"), target=f"proposals/{identifier}/{name}", mode=mode)
        for name, mode in FOLDERS
    )


ROUTES = [
    ("api/v1/people", PeopleHandler),
    ("api/v1/people/([^/]+)", PersonHandler),
    ("api/v1/people/([^/]+)/identities", PersonIdentitiesHandler),
    ("api/v1/people/([^/]+)/proposals", PersonProposalsHandler),
    ("api/v1/memberships", MembershipsHandler),
    ("api/v1/proposals/([^/]+)", ProposalHandler),
    ("api/v1/proposals/([^/]+)/members", MembersHandler),
    ("api/v1/proposals/([^/]+)/datasets", DatasetsHandler),
    ("api/v1/proposals/([^/]+)/mounts", MountsHandler),
]
