"""The page *Request access*: for whoever proved who she is, and is not let in.

Who may ask is decided by the gate, at every look at the page and at every request. What is asked is kept by
accounts, before staff is told of it.
"""

import math
from http import HTTPStatus
from typing import Any, NamedTuple

from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_path_join
from pydantic import ValidationError
from tornado import web

from jupyterhub_daas.authenticators import proofs
from jupyterhub_daas.authenticators.attempts import AttemptLimit, network
from jupyterhub_daas.authenticators.gate import MONITORS
from jupyterhub_daas.authenticators.proofs import ASKING_LIFETIME, Proof
from jupyterhub_daas.core.access_requests import MAX_MESSAGE, AccessRequest, AskedAccess, RequestState
from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.origins import origin_of
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    AccountUnknownError,
    ConflictError,
    DaasError,
    NoEntryError,
    TooManyAttemptsError,
    UpstreamError,
)

PATH = "access-request"
MAX_BODY = 32 * 1024
FIELDS = ("name", "email", "message")
# One network may be a whole institute, behind one address.
PER_NETWORK, WINDOW_SECONDS = 20, 3600.0
_TOO_OLD = (
    "Your sign-in is more than half an hour ago. Please copy your text, sign in once more, "
    "and come back here."
)
_PROBLEMS = {
    "name": "Please write your name, in one line.",
    "email": "Please write an e-mail address, such as name@institute.example.",
    "message": f"Please say what you need, in at most {MAX_MESSAGE} characters.",
}


def may_ask(error: DaasError | None) -> bool:
    """Tell whether somebody who was refused with this error may ask for access."""
    if isinstance(error, AccountUnknownError):
        return error.details.get("cause") != MONITORS
    return isinstance(error, NoEntryError)


async def last_request(authenticator: Any, identity: Identity) -> AccessRequest | None:
    """Return what an identity asked for last; None too if that can't be found out now."""
    try:
        found: AccessRequest | None = await authenticator.accounts.last_request_of(identity)
    except DaasError:
        return None
    return found


class Asker(NamedTuple):
    """Who is there by her proof, and the gate's refusal; `refusal` is None if she may enter."""

    proof: Proof
    username: str | None
    refusal: DaasError | None


class AccessRequestHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """GET and POST /hub/access-request, for people who are not signed in."""

    async def prepare(self) -> None:
        """Refuse what is too large."""
        if len(self.request.body) > MAX_BODY:
            raise web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        await super().prepare()

    async def get(self) -> None:
        """Show the form, or what became of the request."""
        await self._show(*await self._asker())

    async def post(self) -> None:
        """Keep a request."""
        given = {name: self.get_body_argument(name, "").replace("\r\n", "\n").strip() for name in FIELDS}
        asker, problem = await self._asker()
        if asker is None:
            await self._show(None, problem or ConflictError(_TOO_OLD), given)
            return
        if not may_ask(asker.refusal):
            await self._show(asker, problem, given)
            return
        try:
            await self._ask(asker, given)
        except DaasError as error:
            await self._show(asker, error, given)
            return
        self.redirect(self.own_url, status=HTTPStatus.SEE_OTHER)

    @property
    def own_url(self) -> str:
        """Return the address of this page."""
        return str(url_path_join(self.hub.base_url, PATH))

    # --- who asks

    async def _asker(self) -> tuple[Asker | None, DaasError | None]:
        """Return who is there, as the gate sees her now, or why that is not known."""
        held = proofs.read(self, ASKING_LIFETIME)
        if not held:
            return None, None
        proof = held[0]
        own = any(
            each.source.issuer == proof.identity.issuer and each.settings.person == "username"
            for each in self.authenticator.passwords.sources.values()
        )
        # Such an account is nobody else's than its name says, whether the directory knows her yet or not.
        username = proof.identity.subject if own and matches(USERNAME, proof.identity.subject) else None
        try:
            await self.authenticator.gate.resolve(proof.identity, facility_account=own)
        except UpstreamError as away:
            return None, away
        except DaasError as refusal:
            return Asker(proof, username, refusal), None
        return Asker(proof, username, None), None

    async def _ask(self, asker: Asker, given: dict[str, str]) -> None:
        address = network(origin_of(self.request)[0])
        limit: AttemptLimit = self.authenticator.requests_per_network
        wait = limit.wait(address)
        if wait:
            raise TooManyAttemptsError(
                "Too many requests came from your network. Please try again in "
                f"{math.ceil(wait / 60)} minutes, or write to the user office.",
                retry_after=math.ceil(wait),
            )
        asked = self._parsed(asker, given)
        limit.fail(address)
        await self.authenticator.accounts.ask_access(asked)
        self.log.info("Access requested: issuer=%s", asker.proof.identity.issuer)

    def _parsed(self, asker: Asker, given: dict[str, str]) -> AskedAccess:
        try:
            return AskedAccess(
                identity=asker.proof.identity, username=asker.username, provider=self._title(asker), **given
            )
        except ValidationError as error:
            field = str(error.errors()[0]["loc"][0])
            raise ConflictError(_PROBLEMS.get(field, "This can't be sent."), field=field) from None

    def _title(self, asker: Asker) -> str:
        known = self.authenticator.by_key.get(asker.proof.provider)
        if known is not None:
            return str(known.settings.title)[:80]
        for each in self.authenticator.passwords.sources.values():
            if each.source.issuer == asker.proof.identity.issuer:
                return str(each.settings.title)[:80]
        return ""

    # --- what she sees

    async def _show(
        self, asker: Asker | None, problem: DaasError | None, given: dict[str, str] | None = None
    ) -> None:
        self.set_header("Cache-Control", "no-store")
        request = await last_request(self.authenticator, asker.proof.identity) if asker else None
        if problem is not None:
            self.set_status(_status(problem))
        blocked = asker is not None and asker.refusal is not None and not may_ask(asker.refusal)
        open_request = request is not None and request.state is RequestState.PENDING
        known = asker.proof if asker else None
        said = {each: getattr(known, each, "") or getattr(request, each, "") for each in ("name", "email")}
        self.finish(
            await self.render_template(
                "access_request.html",
                asker=asker,
                request_=request,
                form=given or {**said, "message": ""},
                error=problem.message if problem else "",
                wrong=problem.field if problem else None,
                refused=asker.refusal.message if blocked and asker and asker.refusal else "",
                asks=asker is not None and may_ask(asker.refusal) and not open_request,
                title=self._title(asker) if asker else "",
                own_url=self.own_url,
                sign_in_url=self.settings["login_url"],
                most=MAX_MESSAGE,
            )
        )


def _status(problem: DaasError) -> int:
    if isinstance(problem, UpstreamError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(problem, TooManyAttemptsError):
        return HTTPStatus.TOO_MANY_REQUESTS
    return HTTPStatus.CONFLICT
