"""The account API: who may ask, one call, one answer.

A person reads and changes what is hers; blocks and roles are changed by staff with the scope, and read by the
services that decide on a start.
"""

import logging
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Protocol

from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.audit import Author, request_id_of
from jupyterhub_daas.core.names import IDENTIFIER, USERNAME, matches
from jupyterhub_daas.core.people import Role, RoleGrant
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import ConflictError, DaasError, InvalidInputError, NotFoundError
from jupyterhub_daas.services.accounts.errands import Errands
from jupyterhub_daas.services.accounts.models import (
    AcceptanceRequest,
    Acceptances,
    BlockRequest,
    HeldRole,
    HeldRoles,
    Identifiers,
    Preferences,
    RoleRequest,
    RoleSource,
    Usernames,
)
from jupyterhub_daas.services.accounts.store import AccountsStore
from jupyterhub_daas.services.handlers import ApiHandler

log = logging.getLogger("jupyterhub_daas.services.accounts")

READ = "custom:daas:accounts:read"
WRITE = "custom:daas:accounts:write"


class EndsSessions(Protocol):
    """What of the lifecycle service a block needs."""

    async def end_sessions_of(self, username: str, reason: str) -> None:
        """End all sessions of a person."""


def now() -> datetime:
    """Return the moment of a request."""
    return datetime.now(timezone.utc)


class AccountsHandler(ApiHandler):
    """Share what the routes have in common."""

    @property
    def store(self) -> AccountsStore:
        """Return the store."""
        store: AccountsStore = self.settings["store"]
        return store

    @property
    def facility(self) -> Settings:
        """Return the facility's settings."""
        return self.environment.settings

    @property
    def author(self) -> Author:
        """Return the caller as the author of a change."""
        return Author(self.caller.actor, request_id_of(self.request.headers.get("X-Request-Id")))

    def require_staff(self, username: str) -> None:
        """Go on only for staff, and for a name that an account can have."""
        self.require(WRITE)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")

    def allow_reading(self, username: str) -> None:
        """Go on for the person herself, and for who may read or change accounts."""
        if not self.caller.has(WRITE):
            self.require_person(username, READ)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")

    async def standing_of(self, username: str) -> Standing:
        """Compose a person's standing; roles that have expired are none."""
        moment, version = now(), self.facility.conditions.version
        block, accepted_at, staff = await self.store.read_standing(username, version)
        grants = (*self.facility.roles.get(username, ()), *staff)
        return Standing(
            username=username,
            blocked=block,
            conditions_version=version,
            conditions_accepted=accepted_at is not None,
            accepted_at=accepted_at,
            roles=tuple(
                RoleGrant(role=each.role, instruments=each.instruments, expires_at=each.expires_at)
                for each in grants
                if each.holds(moment)
            ),
        )


class StandingHandler(AccountsHandler):
    """What holds for a person when something is to start."""

    async def get(self, username: str) -> None:
        """Answer with the standing."""
        self.allow_reading(username)
        self.answer(await self.standing_of(username))


class ConditionsHandler(AccountsHandler):
    """The conditions of use."""

    async def get(self) -> None:
        """Answer with their present version."""
        self.answer(self.facility.conditions)


class AcceptanceHandler(AccountsHandler):
    """What a person accepted. Nobody accepts for another."""

    async def get(self, username: str) -> None:
        """Answer with all versions that she accepted, and when."""
        self.allow_reading(username)
        self.answer(Acceptances(items=await self.store.list_acceptances(username)))

    async def put(self, username: str) -> None:
        """Record that she accepts the present version."""
        self.require_person(username)
        version = self.body(AcceptanceRequest).version
        if version != self.facility.conditions.version:
            raise ConflictError(
                "The conditions of use have changed since you opened them. Please read them again.",
                field="version",
                version=self.facility.conditions.version,
            )
        await self.store.accept(username, version, now=now(), by=self.author)
        self.answer(await self.standing_of(username))


class FavouritesHandler(AccountsHandler):
    """A person's favourite proposals."""

    async def get(self, username: str) -> None:
        """Answer with their identifiers."""
        self.require_person(username)
        self.answer(Identifiers(items=await self.store.list_favourites(username)))


class FavouriteHandler(AccountsHandler):
    """One favourite. That it is kept says nothing of whether there is such a proposal."""

    async def put(self, username: str, identifier: str) -> None:
        """Make it one."""
        self._require_own(username, identifier)
        await self.store.add_favourite(username, identifier, now=now())
        self.answer(None, HTTPStatus.NO_CONTENT)

    async def delete(self, username: str, identifier: str) -> None:
        """Make it none."""
        self._require_own(username, identifier)
        await self.store.remove_favourite(username, identifier)
        self.answer(None, HTTPStatus.NO_CONTENT)

    def _require_own(self, username: str, identifier: str) -> None:
        self.require_person(username)
        if not matches(IDENTIFIER, identifier):
            raise NotFoundError("There is nothing here for you.")


class PreferencesHandler(AccountsHandler):
    """A person's preferences, as a whole."""

    async def get(self, username: str) -> None:
        """Answer with all of them."""
        self.require_person(username)
        self.answer(await self.store.read_preferences(username))

    async def put(self, username: str) -> None:
        """Replace all of them."""
        self.require_person(username)
        given = self.body(Preferences)
        await self.store.replace_preferences(username, given.root)
        self.answer(given)


class BlockHandler(AccountsHandler):
    """Whether a person is kept out."""

    async def put(self, username: str) -> None:
        """Keep her out, and have her sessions ended now."""
        self.require_staff(username)
        if self.caller.is_person(username):
            raise ConflictError("You can't block yourself.", field="username")
        await self.store.block(username, self.body(BlockRequest).reason, by=self.author, now=now())
        lifecycle: EndsSessions = self.settings["lifecycle"]
        try:
            await lifecycle.end_sessions_of(username, "blocked")
        except DaasError as error:
            # The block stands without it: lifecycle asks who is blocked in each of its rounds.
            log.warning("Sessions of %s go on until lifecycle's next round: %s", username, error.code)
        errands: Errands = self.settings["errands"]
        await errands.soon()
        self.answer(await self.standing_of(username))

    async def delete(self, username: str) -> None:
        """Let her in again."""
        self.require_staff(username)
        await self.store.unblock(username, by=self.author, now=now())
        self.answer(None, HTTPStatus.NO_CONTENT)


class RolesHandler(AccountsHandler):
    """A person's roles."""

    async def get(self, username: str) -> None:
        """Answer with all of them, from the settings file and from staff, expired ones too."""
        self.allow_reading(username)
        given = tuple(
            HeldRole(**grant.model_dump(), source=RoleSource.SETTINGS)
            for grant in self.facility.roles.get(username, ())
        )
        self.answer(HeldRoles(items=(*given, *await self.store.list_roles(username))))


class RoleHandler(AccountsHandler):
    """One role of a person."""

    async def put(self, username: str, role: str) -> None:
        """Give it to her."""
        self.require_staff(username)
        known, request = _role(role), self.body(RoleRequest)
        check_grant(known, request)
        await self.store.grant(username, known, request, by=self.author, now=now())
        self.answer(await self.standing_of(username))

    async def delete(self, username: str, role: str) -> None:
        """Take it back."""
        self.require_staff(username)
        known = _role(role)
        taken = await self.store.revoke(username, known, by=self.author, now=now())
        if not taken and any(grant.role is known for grant in self.facility.roles.get(username, ())):
            raise ConflictError(
                "The settings file gives this role: it is taken back there, by whoever looks after it.",
                field="role",
            )
        self.answer(None, HTTPStatus.NO_CONTENT)


def check_grant(role: Role, request: RoleRequest) -> None:
    """Refuse a grant that could not hold, or would give more than it says."""
    if request.expires_at is not None and request.expires_at <= now():
        raise InvalidInputError("expires_at: it lies in the past.", field="expires_at")
    if role is Role.INSTRUMENT_SCIENTIST and not request.instruments:
        # No instruments means all of them: that is for the settings file to say.
        raise InvalidInputError("instruments: name at least one.", field="instruments")


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise NotFoundError("There is no such role.") from None


class BlockedHandler(AccountsHandler):
    """Everybody who is blocked."""

    async def get(self) -> None:
        """Answer with their usernames."""
        self.require(READ)
        self.answer(Usernames(items=await self.store.list_blocked()))


PERSON = r"api/v1/people/([^/]+)/"
ROUTES = [
    (PERSON + "standing", StandingHandler),
    (PERSON + "acceptance", AcceptanceHandler),
    (PERSON + "favourites", FavouritesHandler),
    (PERSON + "favourites/([^/]+)", FavouriteHandler),
    (PERSON + "preferences", PreferencesHandler),
    (PERSON + "block", BlockHandler),
    (PERSON + "roles", RolesHandler),
    (PERSON + "roles/([^/]+)", RoleHandler),
    ("api/v1/conditions", ConditionsHandler),
    ("api/v1/blocked", BlockedHandler),
]
