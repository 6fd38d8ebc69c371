"""Routes of the quota API: permission, one call, answer."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import Self

from jupyterhub_daas.clients import ProposalsClient
from jupyterhub_daas.clients.recorder import AuditRecorder
from jupyterhub_daas.core.audit import (
    AuditAction,
    AuditEvent,
    AuditObject,
    ObjectKind,
    request_id_of,
    shown,
)
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import IDENTIFIER, SESSION_ID, USERNAME, Identifier, Username, matches
from jupyterhub_daas.core.proposals import Membership
from jupyterhub_daas.core.quota import OverrideRequest, QuotaScope
from jupyterhub_daas.core.reservations import HOLDING, ReservationRequest, ReservationState
from jupyterhub_daas.errors import InvalidInputError, NotFoundError
from jupyterhub_daas.services.application import Route
from jupyterhub_daas.services.handlers import ApiHandler
from jupyterhub_daas.services.quotas.entitlements import Entitlements
from jupyterhub_daas.services.quotas.overrides import create_override, delete_override, list_overrides
from jupyterhub_daas.services.quotas.store import QuotaStore, utc_now
from jupyterhub_daas.services.quotas.usage import UsageBy, as_csv

QUOTAS_READ = "custom:daas:quotas:read"
QUOTAS_OVERRIDE = "custom:daas:quotas:override"
RESERVATIONS_WRITE = "custom:daas:reservations:write"
USAGE_READ = "custom:daas:usage:read"

MAX_HISTORY = 1000
DEFAULT_HISTORY = 100
USAGE_DAYS = 30
MAX_USAGE_DAYS = 10 * 366


def _states(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _midnight(value: object) -> object:
    is_date = isinstance(value, str) and matches(r"\d{4}-\d\d-\d\d", value)
    return f"{value}T00:00:00Z" if is_date else value


DateOrMoment = Annotated[Moment, BeforeValidator(_midnight)]


class ReservationsQuery(Model):
    """Which reservations; by default those that hold something."""

    person: Username | None = None
    proposal: Identifier | None = None
    state: Annotated[frozenset[ReservationState], BeforeValidator(_states)] = HOLDING
    offset: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_HISTORY)] | None = None

    def most(self) -> int | None:
        """Return how many at most: all that hold something, but only a page of history."""
        return self.limit or (None if self.state <= HOLDING else DEFAULT_HISTORY)


class UsageQuery(Model):
    """The interval, its end excluded, and what to sum by."""

    begins: DateOrMoment | None = Field(default=None, alias="from")
    ends: DateOrMoment | None = Field(default=None, alias="to")
    by: UsageBy = UsageBy.PERSON
    form: Literal["json", "csv"] = Field(default="json", alias="format")

    def interval(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the interval; what is not given makes it the last thirty days."""
        ends = self.ends or (now if self.begins is None else max(now, self.begins))
        begins = self.begins or ends - timedelta(days=USAGE_DAYS)
        if self.ends is not None and begins >= ends:
            raise InvalidInputError("'from' must be before 'to'.", field="from")
        if ends - begins > timedelta(days=MAX_USAGE_DAYS):
            raise InvalidInputError(f"'from' may be {MAX_USAGE_DAYS} days before 'to' at most.", field="from")
        return begins, ends


class ReservationChange(Model):
    """The changes that a request may ask for: it runs, or it waits still and would end then."""

    state: Literal[ReservationState.ACTIVE, ReservationState.HELD]
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _only_what_waits_moves_its_end(self) -> Self:
        if self.state is ReservationState.ACTIVE and self.expires_at is not None:
            raise ValueError("expires_at goes with the state held only")
        return self


class _QuotaHandler(ApiHandler):
    def initialize(self) -> None:
        self.store: QuotaStore = self.settings["store"]
        self.entitlements: Entitlements = self.settings["entitlements"]
        self.proposals: ProposalsClient = self.settings["proposals"]

    def session_id(self, text: str) -> str:
        """Return a session id, or refuse what is none."""
        if not matches(SESSION_ID, text):
            raise InvalidInputError("A session id has 16 hexadecimal digits.", field="session_id")
        return text


class PersonQuotaHandler(_QuotaHandler):
    """A person's limits and what she holds."""

    async def get(self, username: str) -> None:
        self.require_person(username, QUOTAS_READ)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")
        if not self.caller.is_person(username):
            await self.proposals.person(username)
        self.answer(await self.store.quota_of_person(username, await self.entitlements.of(username)))


class ProposalQuotaHandler(_QuotaHandler):
    """A proposal's limits and what all its sessions hold."""

    async def get(self, identifier: str) -> None:
        if not matches(IDENTIFIER, identifier):
            raise NotFoundError("There is nothing here for you.")
        if self.caller.has(QUOTAS_READ):
            await self.proposals.proposal(identifier)
        elif self.caller.kind == "user":
            # Whoever may have the proposal's data may know what is left; others not even that it exists.
            asked = Membership(username=self.caller.name, proposal=identifier)
            if not await self.proposals.held([asked]):
                raise NotFoundError("There is nothing here for you.")
        else:
            self.require(QUOTAS_READ)
        self.answer(await self.store.quota_of_proposal(identifier))


class ReservationsHandler(_QuotaHandler):
    """Reservations, a person's own or everybody's."""

    async def get(self) -> None:
        if not self.caller.has(QUOTAS_READ):
            self.require_person(self.get_query_argument("person", ""))
        query = self.query(ReservationsQuery)
        page = await self.store.reservations(
            person=query.person,
            proposal=query.proposal,
            states=query.state,
            offset=query.offset,
            limit=query.most(),
        )
        self.answer(page)


class ReservationHandler(_QuotaHandler):
    """Hold, activate and release."""

    async def put(self, session_id: str) -> None:
        self.require(RESERVATIONS_WRITE)
        session_id = self.session_id(session_id)
        request = self.body(ReservationRequest)
        granted = await self.store.reserve(session_id, request, await self.entitlements.of(request.person))
        self.answer(granted.reservation, HTTPStatus.CREATED if granted.created else HTTPStatus.OK)

    async def patch(self, session_id: str) -> None:
        self.require(RESERVATIONS_WRITE)
        session_id = self.session_id(session_id)
        change = self.body(ReservationChange)
        if change.state is ReservationState.HELD:
            self.answer(await self.store.prolong(session_id, change.expires_at))
        else:
            self.answer(await self.store.activate(session_id, self.entitlements.of))

    async def delete(self, session_id: str) -> None:
        self.require(RESERVATIONS_WRITE)
        await self.store.release(self.session_id(session_id))
        self.answer(None, HTTPStatus.NO_CONTENT)


class UsageHandler(_QuotaHandler):
    """The accounting record, summed."""

    async def get(self) -> None:
        self.require(USAGE_READ)
        query = self.query(UsageQuery)
        begins, ends = query.interval(utc_now())
        report = await self.store.usage(begins=begins, ends=ends, by=query.by)
        if query.form == "json":
            self.answer(report.model_dump(mode="json", by_alias=True))
            return
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="usage-by-{query.by.value}.csv"')
        self.finish(as_csv(report))


class OverridesHandler(_QuotaHandler):
    """Overrides that are recorded and not removed."""

    async def get(self) -> None:
        self.require(QUOTAS_OVERRIDE)
        self.answer(await list_overrides(self.store.engine))


class OverrideHandler(_QuotaHandler):
    """One person's or proposal's override."""

    async def put(self, scope: str, key: str) -> None:
        self.require(QUOTAS_OVERRIDE)
        place = self._place(scope, key)
        override, created = await create_override(
            self.store.engine, *place, self.body(OverrideRequest), by=self.caller.name, now=utc_now()
        )
        limits = override.model_dump_json(include={"limits"}, exclude_unset=True)
        expires_at = override.expires_at.isoformat() if override.expires_at else ""
        self._tell(*place, change="recorded", reason=override.reason, expires_at=expires_at, limits=limits)
        self.answer(override, HTTPStatus.CREATED if created else HTTPStatus.OK)

    async def delete(self, scope: str, key: str) -> None:
        self.require(QUOTAS_OVERRIDE)
        place = self._place(scope, key)
        if await delete_override(self.store.engine, *place, by=self.caller.name, now=utc_now()):
            self._tell(*place, change="removed")
        self.answer(None, HTTPStatus.NO_CONTENT)

    def _tell(self, scope: QuotaScope, key: str, **details: str) -> None:
        of_person = scope is QuotaScope.PERSON
        event = AuditEvent(
            time=utc_now(),
            actor=self.caller.actor,
            action=AuditAction.OVERRIDE,
            object=AuditObject(kind=ObjectKind.PERSON if of_person else ObjectKind.PROPOSAL, key=key),
            proposal=None if of_person else key,
            request_id=request_id_of(self.request.headers.get("X-Request-Id")),
            details={name: shown(text) for name, text in details.items() if text},
        )
        audit: AuditRecorder = self.settings["audit"]
        audit.record(event)

    def _place(self, scope: str, key: str) -> tuple[QuotaScope, str]:
        if not matches(USERNAME if scope == "person" else IDENTIFIER, key):
            raise InvalidInputError(f"This can't be the key of a {scope}.", field="key")
        return QuotaScope(scope), key


ROUTES: list[Route] = [
    (r"api/v1/people/([^/]+)/quota", PersonQuotaHandler),
    (r"api/v1/proposals/([^/]+)/quota", ProposalQuotaHandler),
    (r"api/v1/reservations", ReservationsHandler),
    (r"api/v1/reservations/([^/]+)", ReservationHandler),
    (r"api/v1/usage", UsageHandler),
    (r"api/v1/overrides", OverridesHandler),
    (r"api/v1/overrides/(person|proposal)/([^/]+)", OverrideHandler),
]
