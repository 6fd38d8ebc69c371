"""The gate: from a proven identity to a person who may enter, or a refusal.

Login and every refresh walk through `Gate.resolve`, so that what ends a right ends it everywhere. Only a
link that *accounts* keeps leads from an identity to a person: no claim, no e-mail, no name that somebody
typed. A service that is away, or that answers what it may not, is an UpstreamError and never counts as a
refusal of the person.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.access import Standing, may_enter
from jupyterhub_daas.core.entitlements import EntitlementSource, entitled, values_of
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
    """A person who may enter, the roles in force, and the groups of entitlements if they were asked for."""

    person: Person
    roles: frozenset[Role]
    entitled_groups: tuple[str, ...] | None = None

    @property
    def groups(self) -> list[str]:
        """Return the hub's groups of this person."""
        return sorted(group_of(role) for role in self.roles)


class Given(NamedTuple):
    """The hub's groups that entitlements give, and whether the roles that they give have changed."""

    groups: tuple[str, ...]
    changed: bool


class Gate:
    """Ask *accounts* whose an identity is and how that person stands, and *proposals* who that is."""

    def __init__(
        self,
        proposals: ProposalsClient,
        accounts: AccountsClient,
        *,
        denied: Collection[str] = MONITORING,
        entitlements: Collection[EntitlementSource] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._proposals = proposals
        self._accounts = accounts
        self._denied = frozenset(each.casefold() for each in denied)
        self._entitlements = tuple(entitlements)
        self._clock = clock

    async def close(self) -> None:
        """Close the connections to the services."""
        await self._proposals.close()
        await self._accounts.close()

    async def resolve(
        self,
        identity: Identity,
        *,
        facility_account: bool = False,
        claims: Mapping[str, Any] | None = None,
    ) -> Admission:
        """Return the person behind an identity with the roles in force, or raise the refusal.

        The subject of a facility account is the person's username; any other identity needs a link. `claims`
        are what the identity's provider says now; without them its entitlements stay what they were.
        """
        self.check_denied({"sub": identity.subject})
        if facility_account:
            return await self._admit(await self._person(identity.subject))
        person = await self._linked(identity)
        given = None if claims is None else await self.entitle(person.username, identity, claims)
        admission = await self._admit(person)
        return admission if given is None else admission._replace(entitled_groups=given.groups)

    async def entitle(self, username: str, identity: Identity, claims: Mapping[str, Any]) -> Given:
        """Keep what the entitlements in a provider's claims give a person."""
        if not any(each.issuer == identity.issuer for each in self._entitlements):
            return Given((), False)
        found = entitled(self._entitlements, identity.issuer, values_of(claims))
        kept = self._accounts.set_entitled_roles(username, identity, found.roles)
        changed = await _asked("accounts", kept, absent=AccountUnknownError)
        return Given(found.groups, changed)

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
