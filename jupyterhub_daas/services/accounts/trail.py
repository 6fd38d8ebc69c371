"""The audit part of the account API: who may add to the trail, and who may read which part of it."""

import logging
from http import HTTPStatus
from typing import Annotated

from pydantic import Field
from tornado.iostream import StreamClosedError

from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.core.audit import (
    AuditAction,
    AuditEvent,
    AuditOutcome,
    AuditRecord,
    DataAccess,
    Place,
    Stretch,
    Text,
)
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import IDENTIFIER, Identifier, Username, matches
from jupyterhub_daas.errors import DaasError, InvalidInputError, NotFoundError, UpstreamUnavailableError
from jupyterhub_daas.services.accounts.audit import AuditStore, Wanted
from jupyterhub_daas.services.accounts.handlers import AccountsHandler, now

log = logging.getLogger("jupyterhub_daas.services.accounts")

AUDIT_READ = "custom:daas:audit:read"
AUDIT_WRITE = "custom:daas:audit:write"
MAX_PAGE = 200

Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


class IntervalQuery(Model):
    """From when, and until when (excluded)."""

    begins: Moment | None = Field(default=None, alias="from")
    ends: Moment | None = Field(default=None, alias="to")

    def check(self) -> None:
        """Refuse an interval that ends before it begins."""
        if self.begins is not None and self.ends is not None and self.begins >= self.ends:
            raise InvalidInputError("'from' must be before 'to'.", field="from")


class AuditQuery(IntervalQuery):
    """Which events."""

    actor: Text | None = None
    person: Username | None = None
    proposal: Identifier | None = None
    action: AuditAction | None = None
    outcome: AuditOutcome | None = None
    before: Place | None = None
    limit: Limit = 50

    def wanted(self) -> Wanted:
        """Return what the store is asked for."""
        return Wanted(**self.model_dump(exclude={"before", "limit"}))


class AccessesQuery(Model):
    """Which stretch."""

    before: Place | None = None
    limit: Limit = 50


class TrailHandler(AccountsHandler):
    """Share what the routes have in common."""

    @property
    def trail(self) -> AuditStore:
        """Return the trail."""
        trail: AuditStore = self.settings["audit"]
        return trail


class AuditHandler(TrailHandler):
    """The events."""

    async def post(self) -> None:
        """Add one."""
        self.require(AUDIT_WRITE)
        event = self.body(AuditEvent)
        record, new = await self.trail.record(event, recorded_by=self.caller.actor, now=now())
        self.answer(record, HTTPStatus.CREATED if new else HTTPStatus.OK)

    async def get(self) -> None:
        """Answer with some, the latest first: to a person with those about her."""
        if not self.caller.has(AUDIT_READ):
            self.require_person(self.get_query_argument("person", ""))
        query = self.query(AuditQuery)
        query.check()
        self.answer(await self.trail.list_records(query.wanted(), before=query.before, limit=query.limit))


class StateHandler(TrailHandler):
    """Whether the trail holds together."""

    async def get(self) -> None:
        """Answer with its head, and with what a look at the latest events found."""
        self.require(AUDIT_READ)
        self.query(Model)
        self.answer(await self.trail.state())


class ExportHandler(TrailHandler):
    """The trail as JSON lines."""

    async def get(self) -> None:
        """Answer with all events of an interval, the oldest first, as they are read."""
        self.require(AUDIT_READ)
        query = self.query(IntervalQuery)
        query.check()
        records = self.trail.export(Wanted(begins=query.begins, ends=query.ends))
        self.set_header("Content-Type", "application/jsonl; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="audit.jsonl"')
        try:
            async for record in records:
                self.write(record.model_dump_json() + "\n")
                # Waits for a slow reader: no more than a batch is ever held.
                await self.flush()
        except StreamClosedError:
            return
        except DaasError as error:
            if not self._headers_written:
                raise
            # Cut off, so that the reader sees it: a proper end would make a part look like the whole.
            log.error("An export of the audit trail was cut off: %s", error.code)
            self.detach().close()


class AccessesHandler(TrailHandler):
    """Who had the data of a proposal in a session: for its members."""

    async def get(self, identifier: str) -> None:
        """Answer with the accesses, the latest first."""
        if not matches(IDENTIFIER, identifier):
            raise NotFoundError("There is nothing here for you.")
        if not self.caller.has(AUDIT_READ):
            await self._require_member(identifier)
        query = self.query(AccessesQuery)
        wanted = Wanted(proposal=identifier, action=AuditAction.DATA_ACCESS)
        found = await self.trail.list_records(wanted, before=query.before, limit=query.limit)
        self.answer(Stretch[DataAccess](items=tuple(_access(each) for each in found.items), next=found.next))

    async def _require_member(self, identifier: str) -> None:
        if self.caller.kind != "user":
            raise NotFoundError("There is nothing here for you.")
        proposals: ProposalsClient | None = self.settings["proposals"]
        if proposals is None:
            raise UpstreamUnavailableError("There is no proposals service.", service="proposals")
        # Whoever may have the proposal's data may know who else had it; others not even that it exists.
        team = await proposals.members(identifier)
        if self.caller.name not in {each.username for each in team.items}:
            raise NotFoundError("There is nothing here for you.")


def _access(record: AuditRecord) -> DataAccess:
    return DataAccess(
        time=record.time,
        person=record.on_behalf_of or record.actor.name,
        session=record.object.key,
        folders=record.details.get("folders", ""),
        role=record.details.get("role", ""),
        by=record.actor.name if record.on_behalf_of else "",
    )


TRAIL_ROUTES = [
    ("api/v1/audit", AuditHandler),
    ("api/v1/audit/export", ExportHandler),
    ("api/v1/audit/state", StateHandler),
    ("api/v1/proposals/([^/]+)/accesses", AccessesHandler),
]
