"""The pages of the login: the form, the way to a provider and back, and the way out.

An answer of a provider is accepted once, in the browser that began the sign-in, through the path of the
provider that was asked. Where a sign-in leads afterwards is always a place of this portal.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.login import LoginHandler, LogoutHandler
from jupyterhub.utils import get_browser_protocol, url_path_join
from tornado import web
from tornado.httputil import url_concat

from jupyterhub_daas.authenticators import asking, lock_outs, pages, proofs
from jupyterhub_daas.authenticators.announcing import AnnounceHandler
from jupyterhub_daas.authenticators.asking import AccessRequestHandler, last_request
from jupyterhub_daas.authenticators.ending import AskAgainHandler, EndLoginsHandler
from jupyterhub_daas.authenticators.entry import Arrival, KeptLogin
from jupyterhub_daas.authenticators.linking import PATH, PROVE, IdentitiesHandler
from jupyterhub_daas.authenticators.openid import OpenIDProvider, SignIn
from jupyterhub_daas.authenticators.openid.state import (
    COOKIE_PREFIX,
    LIFETIME,
    SignInState,
    cookie_name,
    from_cookie,
    new_state,
)
from jupyterhub_daas.authenticators.ways import COOKIE, COOKIE_DAYS, accounts_way, ways
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.errors import (
    AccessError,
    DaasError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UpstreamError,
)

LONGEST_ARGUMENT = 4096
MOST_SIGN_INS = 5
_DAY = 86400
_TEMPLATE = "sign_in_refused.html"
_PROVIDER_SAYS = {
    "access_denied": "{title} did not sign you in: the password was wrong, or the sign-in was cancelled.",
    "login_required": "{title} wants you to sign in again.",
    "temporarily_unavailable": "{title} is busy. Please try again in a few minutes.",
    "server_error": "{title} reports a fault of its own. Please try again in a few minutes.",
}
_NOT_OURS = (
    "This sign-in was begun in another browser, is older than ten minutes, or was used already. "
    "Please begin again."
)


class SignInRefusedError(web.HTTPError):
    """Carry a refusal to the page that shows it; to other callers it is an HTTP error without details."""

    def __init__(self, error: DaasError, identity: Identity | None) -> None:
        self.page = pages.page_for(error, identity)
        self.error = error
        super().__init__(self.page.status)


class _Refusing:
    """Show the refusal page."""

    async def show_refusal(self: Any, page: pages.RefusalPage, **more: Any) -> None:
        """Finish with a refusal page that offers to log in again."""
        self.set_status(page.status)
        self.set_header("Cache-Control", "no-store")
        asked = await last_request(self.authenticator, page.asker) if page.asker else None
        urls = {
            "retry_url": self.settings["login_url"],
            "ask_url": url_path_join(self.hub.base_url, asking.PATH),
            "link_url": url_concat(
                self.settings["login_url"], {"next": url_path_join(self.hub.base_url, PATH)}
            ),
        }
        self.finish(await self.render_template(_TEMPLATE, page=page, request_=asked, **urls, **more))


class DaasLoginHandler(_Refusing, LoginHandler):  # type: ignore[misc]
    """The login page with its providers and the form for facility accounts."""

    async def get(self) -> None:
        """Show the page; each provider is asked for a moment whether it is there."""
        if not self.current_user:
            await self.authenticator.look_at_providers()
        await super().get()

    async def post(self) -> None:
        """Sign in with a facility account."""
        data = {
            "username": self.get_body_argument("username", "", strip=True),
            "password": self.get_body_argument("password", "", strip=False),
            "source": self.get_body_argument("source", "", strip=True),
        }
        remember_way(self, accounts_way(data["source"]), self.get_body_argument("remember", ""))
        try:
            user = await self.login_user(data)
        except SignInRefusedError as refusal:
            await self._refuse(refusal, data["username"], data["source"])
            return
        if user is None:  # a name that only the hub's own rules refuse
            self.set_status(403)
            self.finish(await self._render(login_error="This account cannot be used here."))
            return
        self._jupyterhub_user = user
        self.redirect(self.get_next_url(user))

    async def _refuse(self, refusal: SignInRefusedError, username: str, source: str) -> None:
        error = refusal.error
        if not isinstance(error, UnauthenticatedError | TooManyAttemptsError):
            await self.show_refusal(refusal.page)
            return
        if isinstance(error, TooManyAttemptsError):
            self.set_header("Retry-After", str(error.details["retry_after"]))
        self.set_status(refusal.page.status)
        await self.authenticator.look_at_providers()
        self.finish(await self._render(login_error=error.message, username=username[:64], tried=source))

    def _render(
        self, login_error: str | None = None, username: str | None = None, tried: str = "", **kwargs: Any
    ) -> Any:
        authenticator = self.authenticator
        found = ways(
            authenticator.by_key,
            authenticator.passwords.sources,
            {key: sign_in_path(self.hub.base_url, key) for key in authenticator.by_key},
            cookie=self.get_cookie(COOKIE, ""),
            tried=tried,
        )
        return super()._render(
            login_error,
            username,
            ways=found,
            next_url=self.get_argument("next", ""),
            accounts_title=authenticator.accounts_title,
            accounts_first=authenticator.accounts_first,
            **kwargs,
        )


class _ProviderHandler(_Refusing, BaseHandler):  # type: ignore[misc]
    """What the way to a provider and the way back share."""

    provider: ClassVar[OpenIDProvider]
    key: ClassVar[str]

    @property
    def cookie_path(self) -> str:
        """Return the path that only this provider's two handlers lie below."""
        return str(url_path_join(self.hub.base_url, "auth", self.key, "/"))

    @property
    def redirect_uri(self) -> str:
        """Return where the provider sends the browser back to."""
        configured = self.provider.settings.callback_url
        return configured or public_origin(self) + callback_path(self.hub.base_url, self.key)

    async def refuse(self, error: DaasError) -> None:
        """Show why nobody was signed in."""
        await self.show_refusal(pages.page_for(error))

    def clear_sign_in(self, name: str) -> None:
        """Forget one sign-in of this browser."""
        self.clear_cookie(name, path=self.cookie_path)


class ToProviderHandler(_ProviderHandler):
    """Send the browser to a provider."""

    async def get(self) -> None:
        """Begin a sign-in."""
        wanted = self._validate_next_url(self.get_argument("next", "")[:LONGEST_ARGUMENT])
        state = new_state(wanted, PROVE if self.get_query_argument(PROVE, "") else "")
        try:
            url = await self.provider.authorization_url(state, self.redirect_uri)
        except UpstreamError as error:
            self.log.warning("Sign-in not begun: code=%s provider=%s", error.code, self.key)
            await self.refuse(error)
            return
        self._keep(state)
        remember_way(self, self.key, self.get_query_argument("remember", ""))
        self.set_header("Cache-Control", "no-store")
        self.redirect(url)

    def _keep(self, state: SignInState) -> None:
        begun = [name for name in self.request.cookies if name.startswith(COOKIE_PREFIX)]
        for name in begun[: max(0, len(begun) - MOST_SIGN_INS + 1)]:
            self.clear_sign_in(name)
        self._set_cookie(
            state.cookie_name,
            state.to_cookie(),
            expires_days=LIFETIME / _DAY,
            path=self.cookie_path,
            samesite="Lax",
        )


class FromProviderHandler(_ProviderHandler):
    """Take a provider's answer."""

    async def get(self) -> None:
        """Finish a sign-in."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        async with contextlib.AsyncExitStack() as turn:
            try:
                await turn.enter_async_context(self.provider.turn())
                state, sign_in = await self._sign_in()
            except DaasError as error:
                cause = error.details.get("cause", "-")
                self.log.warning("Sign-in refused: code=%s cause=%s provider=%s", error.code, cause, self.key)
                self.authenticator.trail.denial(error, None, self.key, self)
                await self.refuse(error)
                return
            await self._admit(state, sign_in)

    async def _admit(self, state: SignInState, sign_in: SignIn) -> None:
        if state.purpose == PROVE:
            await self._prove(state, sign_in)
            return
        try:
            user = await self.login_user(Arrival(self.key, sign_in))
        except SignInRefusedError as refusal:
            await self._refuse_person(refusal, sign_in)
            return
        if user is None:  # a name that only the hub's own rules refuse
            await self.refuse(UnauthenticatedError("This account cannot be used here."))
            return
        # Checked again: the cookie is signed, but a rule of this portal may have changed since.
        self.redirect(self._validate_next_url(state.next_url) or self.get_next_url(user))

    async def _sign_in(self) -> tuple[SignInState, SignIn]:
        state = self._take_state()
        await self.provider.check_answers_issuer(self._argument("iss"))
        return state, await self.provider.sign_in(self._code(), state, self.redirect_uri)

    async def _prove(self, state: SignInState, sign_in: SignIn) -> None:
        """Keep in this browser that somebody is this identity; who is signed in here stays who it was."""
        try:
            self.authenticator.gate.check_denied(sign_in.claims)
        except AccessError as error:
            await self.refuse(error)
            return
        claims = sign_in.claims
        proofs.keep(self, proofs.proof_of(sign_in.identity, provider=self.key, claims=claims, fresh=True))
        self.redirect(self._validate_next_url(state.next_url) or url_path_join(self.hub.base_url, PATH))

    async def _refuse_person(self, refusal: SignInRefusedError, sign_in: SignIn) -> None:
        # The provider would sign the same person in again at once: offer the way to another account.
        sign_out_url = None
        if isinstance(refusal.error, AccessError):
            with contextlib.suppress(UpstreamError):
                return_to = public_origin(self) + self.settings["login_url"]
                sign_out_url = await self.provider.end_session_url(sign_in.tokens.id_token, return_to)
        title = self.provider.settings.title
        await self.show_refusal(refusal.page, sign_out_url=sign_out_url, sign_out_title=title)

    def append_query_parameters(self, url: str, exclude: Any = None) -> str:
        """Keep the provider's answer, code and all, out of the next address."""
        return url

    def _argument(self, name: str) -> str | None:
        values = self.get_query_arguments(name)
        if len(values) > 1 or any(len(value) > LONGEST_ARGUMENT for value in values):
            raise UnauthenticatedError(_NOT_OURS, cause="malformed_answer")
        return values[0] if values else None

    def _take_state(self) -> SignInState:
        state_id = self._argument("state") or ""
        name = cookie_name(state_id)
        held = self.get_secure_cookie(name, max_age_days=LIFETIME / _DAY)
        self.clear_sign_in(name)
        state = from_cookie(held.decode("utf-8", "replace"), state_id) if held else None
        if state is None or not self.authenticator.used_states.use(state_id):
            raise UnauthenticatedError(_NOT_OURS, cause="state")
        return state

    def _code(self) -> str:
        error = self._argument("error")
        title = self.provider.settings.title
        if error is not None:
            said = _PROVIDER_SAYS.get(error, "{title} did not sign you in. Please try again.")
            raise UnauthenticatedError(said.format(title=title), cause=f"provider_{_slug(error)}")
        code = self._argument("code")
        if not code:
            raise UnauthenticatedError(
                f"{title} sent an incomplete answer. Please try again.", cause="no_code"
            )
        return code


class DaasLogoutHandler(LogoutHandler):  # type: ignore[misc]
    """Sign out here and at the provider."""

    _leave_by: str | None = None

    async def default_handle_logout(self) -> None:
        """Note what is needed for the provider's logout before the hub forgets who this is."""
        user = self.current_user
        kept = KeptLogin.parse(await user.get_auth_state()) if user else None
        provider = self.authenticator.by_key.get(kept.provider) if kept else None
        if kept is not None and provider is not None:
            return_to = public_origin(self) + self.settings["login_url"]
            try:
                self._leave_by = await provider.end_session_url(kept.tokens.id_token, return_to)
            except UpstreamError:
                self.log.warning("Provider away at a logout: provider=%s", kept.provider)
            # Its tokens end with the provider's session; running sessions go on by the gate alone.
            await user.save_auth_state(kept.model_copy(update={"signed_out": True}).dump())
        proofs.forget_all(self)
        await super().default_handle_logout()

    async def render_logout_page(self) -> None:
        """Go on to the provider, which comes back to the login page."""
        if self._leave_by is None:
            await super().render_logout_page()
        else:
            self.redirect(self._leave_by)


def remember_way(handler: Any, way: str, wish: str) -> None:
    """Remember a way in for this browser, or no way, as its form says; another page's link says nothing."""
    path = handler.hub.base_url
    if wish == "yes":
        handler._set_cookie(COOKIE, way, encrypted=False, expires_days=COOKIE_DAYS, path=path, samesite="Lax")
    elif wish == "no" and handler.get_cookie(COOKIE):
        handler.clear_cookie(COOKIE, path=path)


def sign_in_path(base_url: str, key: str) -> str:
    """Return where a sign-in at a provider begins."""
    return str(url_path_join(base_url, "auth", key, "oauth_login"))


def callback_path(base_url: str, key: str) -> str:
    """Return where a provider's answers come in."""
    return str(url_path_join(base_url, "auth", key, "oauth_callback"))


def public_origin(handler: Any) -> str:
    """Return scheme and host of the portal as browsers see it."""
    public_url = handler.settings.get("public_url")
    if public_url:
        return f"{public_url.scheme}://{public_url.netloc}"
    return f"{get_browser_protocol(handler.request)}://{handler.request.host}"


def handlers_for(providers: Mapping[str, OpenIDProvider]) -> list[tuple[str, type[Any]]]:
    """Return the handlers of the login page, the logout, the lock-outs and each provider."""
    found: list[tuple[str, type[Any]]] = [
        ("/login", DaasLoginHandler),
        ("/logout", DaasLogoutHandler),
        (r"/daas/people/([^/]+)/end-logins", EndLoginsHandler),
        (r"/daas/people/([^/]+)/ask-again", AskAgainHandler),
        (f"/{PATH}", IdentitiesHandler),
        (f"/{asking.PATH}", AccessRequestHandler),
        ("/daas/access-requests/announce", AnnounceHandler),
        *lock_outs.HANDLERS,
    ]
    for key, provider in providers.items():
        own = {"provider": provider, "key": key}
        found.append((sign_in_path("/", key), type("ToProviderHandler", (ToProviderHandler,), own)))
        found.append((callback_path("/", key), type("FromProviderHandler", (FromProviderHandler,), own)))
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "", text[:40])
