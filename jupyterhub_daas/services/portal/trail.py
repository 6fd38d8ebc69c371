"""The pages of the audit trail: all of it for whoever may read it, one's own, and who had a proposal's data.

Who may see what is decided by the account service, asked with the person's own token.
"""

import logging
from contextlib import aclosing
from datetime import date, datetime, timedelta, timezone
from http import HTTPStatus
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from pydantic import BaseModel, Field
from tornado.iostream import StreamClosedError

from jupyterhub_daas.core.audit import AuditAction, AuditOutcome, Place
from jupyterhub_daas.core.names import Identifier, Username
from jupyterhub_daas.errors import DaasError, InvalidInputError, NotFoundError
from jupyterhub_daas.services.portal.pages import PageHandler
from jupyterhub_daas.services.portal.wording import WHAT, tell

log = logging.getLogger("jupyterhub_daas.services.portal")

PAGE = 50
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(8999, 12, 30))]
# What the form says about a field that does not fit.
PROBLEMS = {
    "since": "Write the first day as 2026-01-31.",
    "until": "Write the last day as 2026-01-31.",
    "person": "A username has small letters, digits, dots and hyphens, and begins with a letter.",
    "proposal": "A proposal's number has letters, digits, dots and hyphens.",
    "action": "Choose one of the listed events.",
    "outcome": "Choose one of the listed outcomes.",
    "before": "This address is not complete. Begin again with the latest events.",
}


class _Days(BaseModel):
    """An interval as people say it: both days belong to it, in UTC."""

    since: Day | None = None
    until: Day | None = None

    def check(self) -> None:
        """Refuse an interval that ends before it begins."""
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InvalidInputError("The first day is after the last one.", field="until")

    def interval(self) -> dict[str, str | None]:
        """Return what the account service is asked."""
        return {
            "from": None if self.since is None else _midnight(self.since).isoformat(),
            "to": None if self.until is None else _midnight(self.until + timedelta(days=1)).isoformat(),
        }


class _Filter(_Days):
    """Which events."""

    action: AuditAction | None = None
    person: Username | None = None
    proposal: Identifier | None = None
    outcome: AuditOutcome | None = None
    before: Place | None = None


FIELDS = tuple(_Filter.model_fields)


class _Asked(NamedTuple):
    """What is asked for, and the form as it was sent; `problem` is what is wrong with it."""

    query: dict[str, str | None]
    form: dict[str, str]
    problem: str = ""

    @property
    def filtered(self) -> bool:
        """Tell whether anything is left out."""
        return any(text for name, text in self.form.items() if name != "before")

    def address(self, **changes: str) -> str:
        """Return the query of the same page with something changed."""
        return "?" + urlencode({name: text for name, text in {**self.form, **changes}.items() if text})


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


class _AuditorHandler(PageHandler):
    """A page for whoever may read the whole trail; for all others it is absent."""

    def require_auditor(self) -> None:
        """Go on only with the scope."""
        if not self.auditor:
            raise NotFoundError("The page is not there, or it is not yours to see.")


class AuditHandler(_AuditorHandler):
    """Show the audit trail."""

    async def get(self) -> None:
        """Show some events, the latest first."""
        self.require_auditor()
        asked = self._asked()
        accounts, token = self.clients.accounts, self.token
        events = after = None
        if not asked.problem:
            found = await accounts.events(asked.query, limit=PAGE, token=token)
            events = tuple(tell(each) for each in found.items)
            after = found.next and asked.address(before=found.next)
        self.page(
            "audit.html",
            status=HTTPStatus.BAD_REQUEST if asked.problem else HTTPStatus.OK,
            current="audit",
            asked=asked,
            events=events,
            earlier=after,
            state=await accounts.trail_state(token=token),
            actions=WHAT,
            outcomes=tuple(AuditOutcome),
        )

    def _asked(self) -> _Asked:
        form = {name: self.get_argument(name, "") for name in FIELDS}
        try:
            given = self.fields(_Filter)
            given.check()
        except InvalidInputError as error:
            return _Asked({}, form, _problem(error))
        query = given.model_dump(mode="json", exclude={"since", "until"})
        return _Asked({**query, **given.interval()}, form)


def _problem(error: InvalidInputError) -> str:
    # pydantic's words are for programmers; ours of the interval name no field.
    of_pydantic = error.message.startswith(f"{error.field}:")
    return PROBLEMS.get(error.field or "", error.message) if of_pydantic else error.message


class ExportHandler(_AuditorHandler):
    """The trail as JSON lines, for the days of a form."""

    async def get(self) -> None:
        """Hand on what the account service sends, as it comes."""
        self.require_auditor()
        days = self.fields(_Days)
        days.check()
        self.set_header("Content-Type", "application/jsonl; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{_file_name(days)}"')
        try:
            async with aclosing(self.clients.accounts.export(days.interval(), token=self.token)) as chunks:
                async for chunk in chunks:
                    self.write(chunk)
                    await self.flush()
        except StreamClosedError:
            return
        except DaasError as error:
            if not self._headers_written:
                self.clear_header("Content-Disposition")
                raise
            # As the service does: a proper end would make a part look like the whole.
            log.error("An export of the audit trail was cut off: %s", error.code)
            self.detach().close()


def _file_name(days: _Days) -> str:
    interval = [day.isoformat() for day in (days.since, days.until) if day is not None]
    return "_".join(["audit", *interval]) + ".jsonl"


class _Stretch(BaseModel):
    before: Place | None = None


class ActivityHandler(PageHandler):
    """Show a person what is recorded about her."""

    async def get(self) -> None:
        """Show some of it, the latest first."""
        asked = self.fields(_Stretch)
        found = await self.clients.accounts.events(
            {"person": self.me, "before": asked.before}, limit=PAGE, token=self.token
        )
        self.page(
            "activity.html",
            current="activity",
            events=tuple(tell(each, self.me) for each in found.items),
            first=asked.before is None,
            earlier=found.next and "?" + urlencode({"before": found.next}),
        )


class AccessesHandler(PageHandler):
    """Show the team of a proposal who had its data in a session."""

    async def get(self, identifier: str) -> None:
        """Show some accesses, the latest first."""
        asked, token = self.fields(_Stretch), self.token
        proposal = await self.clients.proposals.proposal(identifier, token=token)
        found = await self.clients.accounts.accesses(identifier, before=asked.before, limit=PAGE, token=token)
        members = await self.clients.proposals.members(identifier, token=token)
        self.page(
            "accesses.html",
            current="proposals",
            proposal=proposal,
            accesses=found.items,
            names={each.username: each.display_name for each in members.items},
            first=asked.before is None,
            earlier=found.next and "?" + urlencode({"before": found.next}),
        )
