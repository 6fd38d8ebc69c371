"""The page *Sign-in methods*: a person's identities, and how she links and unlinks them.

Both sides of a link are proven in this browser within minutes, each by a login that its provider had to ask
for. What is then linked is said on the page and confirmed there: no redirect, and no address, links anything.
"""

from http import HTTPStatus
from typing import Any, NamedTuple

from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from jupyterhub_daas.authenticators import proofs
from jupyterhub_daas.authenticators.entry import PasswordGiven
from jupyterhub_daas.authenticators.proofs import Proof
from jupyterhub_daas.core.links import Link
from jupyterhub_daas.core.origins import origin_of
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import AccessError, ConflictError, DaasError, NotFoundError, UpstreamError

PATH = "identities"
PROVE = "prove"
MAX_BODY = 16 * 1024
_DONE = {
    "linked": "Linked. From now on both lead to your account here.",
    "unlinked": "Unlinked. All browsers and programs that were signed in as you have to sign in again.",
    "proven": "Thank you, that was you.",
}
_CONFIRM = "Please confirm first that it is you: sign in once more, below."
_LAST = (
    "This is your only way to sign in: without it you could not come back. "
    "Link another one first, or ask the user office."
)


class Method(NamedTuple):
    """A linked identity as the page shows it."""

    link: Link
    title: str
    offered: bool


class Candidate(NamedTuple):
    """An identity that this browser has proven and that is not linked; not `fresh`: once more, please."""

    proof: Proof
    title: str
    prove_url: str


class IdentitiesHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """GET and POST /hub/identities; for browsers alone: who comes with a token is a stranger here."""

    async def prepare(self) -> None:
        """Refuse what is too large."""
        if len(self.request.body) > MAX_BODY:
            raise web.HTTPError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        await super().prepare()

    @web.authenticated
    async def get(self) -> None:
        """Show the page."""
        await self._show(done=_DONE.get(self.get_query_argument("done", ""), ""))

    @web.authenticated
    async def post(self) -> None:
        """Take a password as a proof, link, or unlink."""
        ways = {"prove": self._prove, "link": self._link, "unlink": self._unlink}
        way = ways.get(self.get_body_argument("action", ""))
        if way is None:
            raise web.HTTPError(HTTPStatus.BAD_REQUEST)
        try:
            done = await way()
        except DaasError as error:
            self.log.info("Sign-in methods of %s not changed: %s", self.current_user.name, error.code)
            upstream = isinstance(error, UpstreamError)
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE if upstream else HTTPStatus.CONFLICT)
            await self._show(error=error.message)
            return
        self.redirect(url_concat(self.own_url, {"done": done}), status=HTTPStatus.SEE_OTHER)

    @property
    def own_url(self) -> str:
        """Return the address of this page."""
        return str(url_path_join(self.hub.base_url, PATH))

    # --- what a form asks for

    async def _prove(self) -> str:
        given = {name: self.get_body_argument(name, "", strip=False) for name in PasswordGiven._fields}
        proven = await self.authenticator.passwords.check(
            PasswordGiven.parse(given), origin_of(self.request)[0]
        )
        proofs.keep(self, proofs.proof_of(proven.identity, provider="", claims={}, fresh=True))
        return "proven"

    async def _link(self) -> str:
        links = await self._links()
        mine = self._confirmed(links)
        wanted = self._wanted()
        proof = next((each for each in proofs.read(self) if each.identity == wanted and each.fresh), None)
        if proof is None:
            raise ConflictError("That sign-in is more than five minutes ago. Please sign in there once more.")
        self.authenticator.gate.check_denied({"sub": wanted.subject})
        if self._names_somebody(wanted):
            raise ConflictError("An account of the facility belongs to its own person: it can't be linked.")
        accounts = self.authenticator.accounts
        await accounts.link(self.current_user.name, wanted, proven_with=mine.identity)
        return "linked"

    async def _unlink(self) -> str:
        links = await self._links()
        mine = self._confirmed(links)
        wanted = self._wanted()
        if not any(each.identity == wanted for each in links):
            raise NotFoundError("This identity is not linked to you.")
        if not await self._another_way(links, wanted):
            raise ConflictError(_LAST)
        await self.authenticator.accounts.unlink(self.current_user.name, wanted, proven_with=mine.identity)
        # All cookies of the person have just ended, this browser's too: the next page asks who is there.
        proofs.forget_all(self)
        return "unlinked"

    def _wanted(self) -> Identity:
        issuer, subject = (self.get_body_argument(each, "")[:255] for each in ("issuer", "subject"))
        if not issuer or not subject:
            raise web.HTTPError(HTTPStatus.BAD_REQUEST)
        return Identity(issuer=issuer, subject=subject)

    # --- what the page shows

    async def _links(self) -> tuple[Link, ...]:
        links: tuple[Link, ...] = await self.authenticator.accounts.links_of(self.current_user.name)
        return links

    def _own(self, identity: Identity, links: tuple[Link, ...]) -> bool:
        linked = any(each.identity == identity for each in links)
        return linked or (self._names_somebody(identity) and identity.subject == self.current_user.name)

    def _names_somebody(self, identity: Identity) -> bool:
        """Tell whether an identity is an account whose name is a person's username."""
        return any(
            each.source.issuer == identity.issuer and each.settings.person == "username"
            for each in self.authenticator.passwords.sources.values()
        )

    def _confirmed(self, links: tuple[Link, ...]) -> Proof:
        for proof in proofs.read(self):
            if proof.fresh and self._own(proof.identity, links):
                return proof
        raise AccessError(_CONFIRM)

    async def _another_way(self, links: tuple[Link, ...], wanted: Identity) -> bool:
        if any(each.identity != wanted and self._title(each.identity) for each in links):
            return True
        for each in self.authenticator.passwords.sources.values():
            if each.settings.person == "username" and await each.source.exists(self.current_user.name):
                return True
        return False

    def _title(self, identity: Identity) -> str:
        """Return what people call the provider or source of an identity; empty if it is not offered."""
        for provider in self.authenticator.by_key.values():
            if provider.settings.issuer == identity.issuer:
                return str(provider.settings.title)
        for each in self.authenticator.passwords.sources.values():
            if each.source.issuer == identity.issuer:
                return str(each.settings.title)
        return ""

    def _prove_url(self, key: str) -> str:
        path = url_path_join(self.hub.base_url, "auth", key, "oauth_login")
        return url_concat(path, {PROVE: "1", "next": self.own_url})

    async def _show(self, *, done: str = "", error: str = "") -> None:
        self.set_header("Cache-Control", "no-store")
        links: tuple[Link, ...] = ()
        try:
            links = await self._links()
        except UpstreamError as away:
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            error = error or away.message
        held = proofs.read(self)
        linked_issuers = {each.identity.issuer for each in links}
        providers = [
            {
                "title": provider.settings.title,
                "linked": provider.settings.issuer in linked_issuers,
                "url": self._prove_url(key),
            }
            for key, provider in self.authenticator.by_key.items()
        ]
        page = await self.render_template(
            "identities.html",
            done=done,
            error=error,
            own_url=self.own_url,
            methods=[
                Method(
                    each, self._title(each.identity) or each.identity.issuer, bool(self._title(each.identity))
                )
                for each in links
            ],
            confirmed=next((each for each in held if each.fresh and self._own(each.identity, links)), None),
            candidates=[
                Candidate(
                    each, self._title(each.identity), self._prove_url(each.provider) if each.provider else ""
                )
                for each in held
                if not self._own(each.identity, links) and not self._names_somebody(each.identity)
            ],
            providers=providers,
            sources=self._sources(),
            minutes=proofs.LIFETIME // 60,
        )
        self.finish(page)

    def _sources(self) -> list[dict[str, Any]]:
        return [
            {"key": key, "title": each.settings.title}
            for key, each in self.authenticator.passwords.sources.items()
        ]
