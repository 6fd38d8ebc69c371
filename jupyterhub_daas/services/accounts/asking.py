"""The part of the account API for requests for access: the hub asks for people, staff answers.

The hub has seen the person prove her identity. Staff with the scope to link answers; a role needs the scope
to grant roles too. Nobody answers a request that would give something to herself.
"""

from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.access_requests import AccessRequest, Answer, AskedAccess, RequestState
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Slug, Username
from jupyterhub_daas.core.people import Identity, Role
from jupyterhub_daas.errors import ConflictError, InvalidInputError
from jupyterhub_daas.services.accounts.access_requests import Given, RequestStore
from jupyterhub_daas.services.accounts.handlers import WRITE, check_grant, now
from jupyterhub_daas.services.accounts.linking import LINK, PROVE, LinkingHandler
from jupyterhub_daas.services.accounts.models import RoleRequest

NUMBER = r"([1-9][0-9]{0,8})"


class AccessRequests(Model):
    """Some requests; `next` is where the earlier ones begin, None if there are none."""

    items: tuple[AccessRequest, ...]
    next: int | None = None


class RequestsQuery(Model):
    """Which requests: an identity is named by both of its parts."""

    state: RequestState | None = None
    issuer: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    before: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50

    @property
    def identity(self) -> Identity | None:
        """Return the identity that is asked for."""
        if self.issuer is None or self.subject is None:
            return None
        return Identity(issuer=self.issuer, subject=self.subject)


class AcceptRequest(Model):
    """What staff gives: a link to `username`, a role, or only an answer that says what was done elsewhere."""

    username: Username | None = None
    role: Role | None = None
    instruments: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    expires_at: Moment | None = None
    answer: Answer = ""


class DeclineRequest(Model):
    """Why not: the person reads it."""

    answer: Annotated[Answer, Field(min_length=1)]


class AskingHandler(LinkingHandler):
    """Share what the routes have in common."""

    @property
    def requests(self) -> RequestStore:
        """Return the table of requests."""
        requests: RequestStore = self.settings["requests"]
        return requests


class RequestsHandler(AskingHandler):
    """The requests."""

    async def get(self) -> None:
        """Answer with some: to staff with all, to the hub with those of one identity."""
        if not self.caller.has(LINK):
            self.require(PROVE)
        query = self.query(RequestsQuery)
        if (query.issuer is None) != (query.subject is None):
            raise InvalidInputError("subject: an identity has an issuer and a subject.", field="subject")
        identity = query.identity
        if identity is None:
            self.require(LINK)
        elif not identity.plain:
            self.answer(AccessRequests(items=()))
            return
        found = await self.requests.list_requests(
            state=query.state, identity=identity, before=query.before, limit=query.limit + 1
        )
        items = found[: query.limit]
        self.answer(AccessRequests(items=items, next=items[-1].id if len(found) > len(items) else None))

    async def post(self) -> None:
        """Keep one."""
        self.require(PROVE)
        asked = self.body(AskedAccess)
        if not asked.identity.plain:
            raise InvalidInputError("identity: it can't be linked to anybody.", field="identity")
        username = asked.username
        if username is None:
            directory = await self.in_directory(asked.identity)
            username = (await self.identities.settle(asked.identity, directory, now=now())).username
        request = await self.requests.ask(asked, username, request_id=self.author.request_id, now=now())
        # Staff hears of it in its own time: the person does not wait for that.
        await self.carry_out(seconds=0)
        self.answer(request, 201)


class AnsweringHandler(AskingHandler):
    """Find the request that is answered."""

    async def asked(self, number: str) -> AccessRequest:
        """Return the request, for staff."""
        self.require(LINK)
        request = await self.requests.read(int(number))
        self._refuse_own(request.username)
        return request

    def _refuse_own(self, username: str | None) -> None:
        if username is not None and self.caller.is_person(username):
            raise ConflictError("This would give something to yourself. Ask a colleague.", field="username")


class AcceptHandler(AnsweringHandler):
    """The way to let somebody in."""

    async def post(self, number: str) -> None:
        """Link, give a role, or only say what was done."""
        request = await self.asked(number)
        wanted = self.body(AcceptRequest)
        self._refuse_own(wanted.username)
        given = await self._given(request, wanted)
        done = await self.requests.accept(request, given, wanted.answer, by=self.author, now=now())
        await self.carry_out()
        self.answer(done)

    async def _given(self, request: AccessRequest, wanted: AcceptRequest) -> Given:
        directory = await self.in_directory(request.identity)
        owner = await self.identities.settle(request.identity, directory, now=now())
        # The name of a facility account says whose it is; it has no owner in the table.
        person = owner.username or request.username
        link_to = None
        if wanted.username is not None and wanted.username != person:
            if person is not None:
                raise ConflictError(f"This is {person}'s account already.", field="username")
            await self.check_linkable(request.identity, wanted.username)
            person = link_to = wanted.username
        if wanted.role is None and link_to is None and not wanted.answer:
            raise InvalidInputError("answer: link, give a role, or say what was done.", field="answer")
        if wanted.role is None:
            return Given(link_to, person, directory)
        self.require(WRITE)
        grant = self._grant(request, wanted, person)
        check_grant(wanted.role, grant)
        return Given(link_to, person, directory, wanted.role, grant)

    def _grant(self, request: AccessRequest, wanted: AcceptRequest, person: str | None) -> RoleRequest:
        if person is None:
            raise InvalidInputError("username: say to whom the role is given.", field="username")
        self._refuse_own(person)
        reason = f"Request for access {request.id}. {wanted.answer}".replace("\n", " ").strip()[:500]
        return RoleRequest(instruments=wanted.instruments, expires_at=wanted.expires_at, reason=reason)


class DeclineHandler(AnsweringHandler):
    """The way to refuse."""

    async def post(self, number: str) -> None:
        """Close it with a reason."""
        request = await self.asked(number)
        answer = self.body(DeclineRequest).answer
        done = await self.requests.decline(request, answer, by=self.author, now=now())
        await self.carry_out(seconds=0)
        self.answer(done)


ASKING_ROUTES = [
    ("api/v1/access-requests", RequestsHandler),
    (f"api/v1/access-requests/{NUMBER}/accept", AcceptHandler),
    (f"api/v1/access-requests/{NUMBER}/decline", DeclineHandler),
]
