"""The part of the account API that says whose an identity is, and that links and unlinks.

A person links through the hub alone, which has seen her prove both identities; with her token she only reads.
"""

from http import HTTPStatus

from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.audit import Actor, ActorKind, Author
from jupyterhub_daas.core.links import NOBODY, LinkSource
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import ConflictError, InvalidInputError, NotFoundError
from jupyterhub_daas.services.accounts.entitled import EntitledStore
from jupyterhub_daas.services.accounts.errands import SOON_SECONDS, Errands
from jupyterhub_daas.services.accounts.handlers import PERSON, READ, AccountsHandler, now
from jupyterhub_daas.services.accounts.identities import SECOND, Evidence, IdentityStore
from jupyterhub_daas.services.accounts.models import EntitledRoles, LinkRequest, Links

LINK = "custom:daas:identities:write"
PROVE = "custom:daas:identities:prove"
ENTITLE = "custom:daas:roles:entitle"


class LinkingHandler(AccountsHandler):
    """Share what the routes have in common."""

    @property
    def identities(self) -> IdentityStore:
        """Return the table of identities."""
        identities: IdentityStore = self.settings["identities"]
        return identities

    @property
    def proposals(self) -> ProposalsClient | None:
        """Return who knows the facility's directory; a portal may do without."""
        proposals: ProposalsClient | None = self.settings["proposals"]
        return proposals

    async def carry_out(self, seconds: float = SOON_SECONDS) -> None:
        """Have done what a change asked for; wait for that at most so long."""
        errands: Errands = self.settings["errands"]
        await errands.soon(seconds)

    async def in_directory(self, identity: Identity) -> str | None:
        """Return to whom the facility's directory links an identity."""
        person = await self.proposals.person_of(identity) if self.proposals else None
        return None if person is None else person.username

    async def identities_of(self, username: str) -> Links:
        """Return a person's identities."""
        directory = await self.proposals.identities_of(username) if self.proposals else ()
        return Links(items=await self.identities.links_of(username, directory))

    async def check_linkable(self, identity: Identity, username: str) -> None:
        """Refuse whom the directory does not know, and who has another identity of the same issuer."""
        if self.proposals is not None:
            await self.proposals.person(username)
        links = (await self.identities_of(username)).items
        if any(each.identity.issuer == identity.issuer and each.identity != identity for each in links):
            raise ConflictError(SECOND, field="issuer")

    def evidence(self, username: str) -> tuple[Identity, Evidence]:
        """Return which identity is meant, and why it may be linked or unlinked."""
        if not self.caller.has(PROVE):
            self.require(LINK)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")
        request = self.body(LinkRequest)
        identity = Identity(issuer=request.issuer, subject=request.subject)
        if self.caller.has(PROVE):
            return identity, self._proven(request, username)
        if self.caller.is_person(username):
            raise ConflictError("Link and unlink your own on the page 'Sign-in methods'.", field="username")
        if request.reason is None or request.proven_with is not None:
            raise InvalidInputError("reason: say why.", field="reason")
        return identity, Evidence(LinkSource.STAFF, request.reason, self.author)

    def _proven(self, request: LinkRequest, username: str) -> Evidence:
        proof = request.proven_with
        if proof is None or not proof.plain:
            raise InvalidInputError("proven_with: say with which identity.", field="proven_with")
        # The hub speaks for the person, who was there.
        actor = Actor(kind=ActorKind.PERSON, name=username)
        reason = f"Signed in with {proof.subject} of {proof.issuer}."[:500]
        return Evidence(LinkSource.PERSON, reason, Author(actor, self.author.request_id))


class OwnerHandler(LinkingHandler):
    """Whose an identity is: the one answer to that question."""

    async def get(self) -> None:
        """Answer with the person, or nobody."""
        self.require(READ)
        identity = self.query(Identity)
        if not identity.plain:
            self.answer(NOBODY)
            return
        owner = await self.identities.settle(identity, await self.in_directory(identity), now=now())
        self.answer(owner)


class IdentitiesHandler(LinkingHandler):
    """A person's identities."""

    async def get(self, username: str) -> None:
        """Answer with those that lead to her."""
        if not self.caller.has(LINK):
            self.allow_reading(username)
        self.answer(await self.identities_of(username))

    async def put(self, username: str) -> None:
        """Link one."""
        identity, evidence = self.evidence(username)
        await self.check_linkable(identity, username)
        directory = await self.in_directory(identity)
        await self.identities.link(identity, username, evidence, directory=directory, now=now())
        await self.carry_out()
        self.answer(await self.identities_of(username))


class UnlinkHandler(LinkingHandler):
    """The way to take an identity from a person."""

    async def post(self, username: str) -> None:
        """Take one, and end what came of it."""
        identity, evidence = self.evidence(username)
        directory = await self.in_directory(identity)
        await self.identities.unlink(identity, username, evidence, directory=directory, now=now())
        await self.carry_out()
        self.answer(None, HTTPStatus.NO_CONTENT)


class EntitledRolesHandler(LinkingHandler):
    """The roles that a provider's entitlements give a person; the hub has verified who said so."""

    async def put(self, username: str) -> None:
        """Put these in the place of all former ones of this identity."""
        self.require(ENTITLE)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")
        given, rules = self.body(EntitledRoles), self.facility.identities
        if not all(rules.gives(given.identity.issuer, each.role) for each in given.roles):
            raise InvalidInputError("roles: no entitlement of this issuer gives that.", field="roles")
        entitled: EntitledStore = self.settings["entitled"]
        changed = await entitled.replace(username, given, author=self.author, now=now())
        self.answer({"changed": changed})


LINKING_ROUTES = [
    ("api/v1/identities", OwnerHandler),
    (PERSON + "identities", IdentitiesHandler),
    (PERSON + "identities/unlink", UnlinkHandler),
    (PERSON + "entitled-roles", EntitledRolesHandler),
]
