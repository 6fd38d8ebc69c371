"""The gate: from a proven identity to a person who may enter, or a refusal.

Login and every refresh walk through `Gate.resolve`, so that what ends a right ends it everywhere. Only a
link that *accounts* keeps leads from an identity to a person: no claim, no e-mail, no name that somebody
typed. A service that is away, or that answers what it may not, is an UpstreamError and never counts as a
refusal of the person.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timezone
from typing import NamedTuple, TypeVar

from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.access import Standing, may_enter
from jupyterhub_daas.core.people import Identity, Person, Role, group_of
from jupyterhub_daas.errors import (
    AccessError,
    AccountBlockedError,
    AccountUnknownError,
    NoEntryError,
    NotFoundError,
    UpstreamAnswerError,
)

Found = TypeVar("Found")

# Accounts with which eduTEAMS watches its own service; a relying party must not admit them.
MONITORING = ("test@eduteams.org", "test@aai.geant.org")
MONITORS = "monitoring"
IDENTIFYING_CLAIMS = ("sub", "voperson_id", "eduperson_unique_id", "eduperson_principal_name")


class Admission(NamedTuple):
    """A person who may enter, and the roles in force."""

    person: Person
    roles: frozenset[Role]

    @property
    def groups(self) -> list[str]:
        """Return the hub's groups of this person."""
        return sorted(group_of(role) for role in self.roles)


class Gate:
    """Ask *accounts* whose an identity is and how that person stands, and *proposals* who that is."""

    def __init__(
        self,
        proposals: ProposalsClient,
        accounts: AccountsClient,
        *,
        denied: Collection[str] = MONITORING,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._proposals = proposals
        self._accounts = accounts
        self._denied = frozenset(each.casefold() for each in denied)
        self._clock = clock

    async def close(self) -> None:
        """Close the connections to the services."""
        await self._proposals.close()
        await self._accounts.close()

    async def resolve(self, identity: Identity, *, facility_account: bool = False) -> Admission:
        """Return the person behind an identity with the roles in force, or raise the refusal.

        The subject of a facility account is the person's username; any other identity needs a link.
        """
        self.check_denied({"sub": identity.subject})
        if facility_account:
            person = await self._person(identity.subject)
        else:
            person = await self._linked(identity)
        return await self._admit(person)

    async def resolve_username(self, username: str) -> Admission:
        """Return the admission of somebody who never signed in here, but holds a token."""
        return await self._admit(await self._person(username))

    def check_denied(self, claims: dict[str, object]) -> None:
        """Refuse the identities that nobody may sign in with."""
        named = (claims.get(name) for name in IDENTIFYING_CLAIMS)
        if any(isinstance(each, str) and each.casefold() in self._denied for each in named):
            raise AccountUnknownError(
                "This identity is for monitoring and cannot be used to sign in.", cause=MONITORS
            )

    async def _linked(self, identity: Identity) -> Person:
        owner = await _asked("accounts", self._accounts.owner_of(identity))
        if owner.disputed:
            raise AccountUnknownError("This identity is linked to two people.", cause="disputed")
        if owner.username is None:
            raise AccountUnknownError("The facility has not linked this identity to a person.")
        return await self._person(owner.username)

    async def _person(self, username: str) -> Person:
        try:
            person = await _asked("proposals", self._proposals.person(username), absent=AccountUnknownError)
        except AccountUnknownError as error:
            raise AccountUnknownError("The facility knows no person with this account.") from error
        if person.username != username:
            raise _misfit("proposals")
        return person

    async def _admit(self, person: Person) -> Admission:
        name = person.username
        standing, proposals = await asyncio.gather(
            _asked("accounts", self._accounts.standing(name)),
            _asked("proposals", self._proposals.proposals_of(name, limit=1)),
        )
        _check_block(standing, name)
        roles = standing.roles_now(self._clock())
        if not may_enter(proposals=proposals.total, roles=roles):
            raise NoEntryError("You are on no proposal and have no role here that would let you in.")
        return Admission(person, roles)


def _check_block(standing: Standing, username: str) -> None:
    if standing.username != username:
        raise _misfit("accounts")
    if standing.blocked is not None:
        raise AccountBlockedError(f"Your account is blocked: {standing.blocked.reason}")


async def _asked(service: str, answer: Awaitable[Found], *, absent: type[AccessError] | None = None) -> Found:
    try:
        return await answer
    except NotFoundError as error:
        if absent is not None:
            raise absent("Unknown.") from error
        raise _misfit(service) from error
    except AccessError as error:  # it is us whom the service refuses, not the person
        raise _misfit(service) from error


def _misfit(service: str) -> UpstreamAnswerError:
    return UpstreamAnswerError(
        f"The {service} service does not answer the portal as it should. Please tell the user office.",
        service=service,
    )
