"""Staff's page of requests for access: the open ones with a form for each, and those that were answered.

Who may see and answer is decided by the account service, asked with the person's own token.
"""

from datetime import date, datetime, time, timedelta, timezone
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field

from jupyterhub_daas.core.access_requests import RequestState
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.errors import DaasError, InvalidInputError, NotFoundError, UpstreamError
from jupyterhub_daas.services.border import status_of
from jupyterhub_daas.services.portal.pages import PageHandler

PAGE = 25
# Admin is given by the interface or the settings file, where nobody does it by a slip.
OFFERED = tuple(role for role in Role if role not in (Role.USER, Role.ADMIN))
DONE = {"accept": "Accepted.", "decline": "Declined. The reason is shown to whoever asked."}
FIELDS = ("username", "role", "instruments", "until", "answer")
PROBLEMS = {
    "username": "Write the username as it is in the directory.",
    "instruments": "Name the instruments by their keys, such as id21 id16a.",
    "until": "Write the last day as 2026-01-31.",
    "answer": "Please write at most 500 characters.",
}


class _Shown(BaseModel):
    before: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    done: Annotated[str, Field(max_length=20)] = ""


class _Which(BaseModel):
    number: Annotated[int, Field(ge=1, lt=1_000_000_000)]


class _Until(BaseModel):
    until: Annotated[date, Field(le=date(8999, 12, 30))] | None = None


class AccessRequestsHandler(PageHandler):
    """The page; for whoever may not answer it is absent."""

    async def get(self) -> None:
        """Show the requests."""
        self._require_staff()
        await self._show(done=DONE.get(self.fields(_Shown).done, ""))

    async def post(self) -> None:
        """Answer one."""
        self._require_staff()
        verdict = self.get_argument("verdict", "")
        number = self.fields(_Which).number
        form = {name: self.get_argument(name, "") for name in FIELDS}
        if verdict not in DONE:
            raise InvalidInputError("Accept or decline.", field="verdict")
        try:
            body = self._acceptance(form) if verdict == "accept" else {"answer": _text(form["answer"])}
            await self.clients.accounts.answer_request(number, verdict, body, token=self.token)
        except UpstreamError:
            raise
        except DaasError as error:
            await self._show(wrong={"number": number, "verdict": verdict, "form": form}, error=error)
            return
        self.see_other(f"{self.look.portal}access-requests", done=verdict)

    def _require_staff(self) -> None:
        if not self.linker:
            raise NotFoundError("The page is not there, or it is not yours to see.")

    def _acceptance(self, form: dict[str, str]) -> dict[str, Any]:
        given = {name: form[name] for name in ("username", "role") if form[name]}
        until = self.fields(_Until).until
        if until is not None:
            # The day that is written is the last one.
            end = datetime.combine(until + timedelta(days=1), time(), timezone.utc)
            given["expires_at"] = end.isoformat()
        instruments = form["instruments"].replace(",", " ").split()
        return {**given, "instruments": instruments, "answer": _text(form["answer"])}

    async def _show(
        self, *, done: str = "", wrong: dict[str, Any] | None = None, error: DaasError | None = None
    ) -> None:
        asked, accounts, token = self.fields(_Shown), self.clients.accounts, self.token
        waiting = await accounts.access_requests(state=RequestState.PENDING, limit=PAGE, token=token)
        latest = await accounts.access_requests(state=None, limit=PAGE, before=asked.before, token=token)
        self.page(
            "access_requests.html",
            status=status_of(error) if error else HTTPStatus.OK,
            current="access-requests",
            waiting=waiting,
            answered=tuple(each for each in latest.items if each.state is not RequestState.PENDING),
            earlier=latest.next,
            first=asked.before is None,
            done=done,
            wrong=wrong,
            problem=_problem(error) if error else "",
            granter=self.granter,
            roles=OFFERED,
        )


def _text(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _problem(error: DaasError) -> str:
    # pydantic's words are for programmers.
    field = (error.field or "").partition(".")[0]
    if isinstance(error, InvalidInputError) and field in PROBLEMS and not error.message.endswith("."):
        return PROBLEMS[field]
    return error.message
