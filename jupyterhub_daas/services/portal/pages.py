"""The base of all pages: who is there, which token acts, how pages and errors are written.

Public pages ask nobody for a visitor without a cookie. A POST is looked at only with its XSRF token.
"""

import logging
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jupyterhub.services.auth import HubOAuthenticated, UserNotAllowed
from pydantic import BaseModel, ValidationError
from tornado import web
from tornado.httputil import url_concat

from jupyterhub_daas.clients import AccountsClient, HubClient, ProposalsClient, QuotasClient
from jupyterhub_daas.clients.hub import HubRefusalError
from jupyterhub_daas.core.access import Standing
from jupyterhub_daas.core.settings import Settings
from jupyterhub_daas.errors import (
    AccountBlockedError,
    DaasError,
    NotFoundError,
    QuotaExceededError,
    UpstreamError,
    UpstreamUnavailableError,
)
from jupyterhub_daas.services.border import status_of
from jupyterhub_daas.services.handlers import _AnswersErrors, invalid_input
from jupyterhub_daas.services.portal.look import TEMPLATE_PATH, Look
from jupyterhub_daas.services.portal.recent import RecentAccounts

log = logging.getLogger("jupyterhub_daas.services.portal")

AnyModel = TypeVar("AnyModel", bound=BaseModel)
AUDIT_READ = "custom:daas:audit:read"
LINK, GRANT = "custom:daas:identities:write", "custom:daas:accounts:write"
SAFE_METHODS = ("GET", "HEAD")
TITLES = {
    400: "This could not be done",
    403: "You may not do this",
    404: "There is nothing here",
    405: "This could not be done",
    409: "This does not fit",
    413: "This is too large",
    503: "A part of the service is away",
}
PARTS = {
    "hub": "the hub, which starts and stops sessions",
    "proposals": "the proposal service, which knows your proposals and their data",
    "quotas": "the quota service, which counts what your sessions hold",
    "accounts": "the account service, which keeps your acceptance of the conditions and your favourites",
    "lifecycle": "the lifecycle service, which ends sessions in time",
}


class Clients:
    """The services, each asked with the token of the person for whom a page is made."""

    def __init__(self, urls: dict[str, str], hub_api_url: str) -> None:
        # No token of the portal's own: a call that forgets the person's must fail.
        self.proposals = ProposalsClient(urls["proposals"], "")
        self.quotas = QuotasClient(urls["quotas"], "")
        self.accounts = AccountsClient(urls["accounts"], "")
        self.recent = RecentAccounts(self.accounts)
        self.hub = HubClient(hub_api_url, "", deadline=30.0)

    async def close(self) -> None:
        """Close the connections."""
        for client in (self.proposals, self.quotas, self.accounts, self.hub):
            await client.close()


def template_environment(path: Path = TEMPLATE_PATH) -> Environment:
    """Return the templates: everything is escaped, and a name that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(path),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


class PageHandler(HubOAuthenticated, _AnswersErrors):  # type: ignore[misc]  # the hub ships no types
    """A page for a person who is logged in; `public` ones are for everybody."""

    public = False
    person: str | None = None
    admin = False
    auditor = False
    linker = False
    granter = False

    async def prepare(self) -> None:
        """Find out who is there, before anything else."""
        safe = self.request.method in SAFE_METHODS
        if not self.hub_auth.get_token(self):
            if not self.public:
                self.redirect(self.get_login_url())
            return
        header = bool(self.hub_auth.get_token(self, in_cookie=False))
        if not safe and not header:
            self.check_xsrf_cookie()
        model = await self._model()
        if model is not None:
            self.person = model["name"]
            scopes = model.get("scopes", ())
            self.admin, self.auditor = "admin-ui" in scopes, AUDIT_READ in scopes
            self.linker, self.granter = LINK in scopes, GRANT in scopes
        elif not self.public:
            self.redirect(self.get_login_url())

    async def _model(self) -> dict[str, Any] | None:
        try:
            model = await self.hub_auth.get_user(self, sync=False)
            model = None if model is None else self.check_hub_user(model)
        except UserNotAllowed:
            return None
        except web.HTTPError as error:
            if self.public:
                return None
            raise UpstreamUnavailableError(
                "The hub does not answer. Please try again in a minute.", service="hub"
            ) from error
        # A service has a token, but no proposals and no pages.
        if model is None or model.get("kind") != "user":
            return None
        # HubOAuthenticated would ask again, and block the loop while it does.
        self._hub_auth_user_cache = model
        return dict(model)

    # --- what handlers use -------------------------------------------------------------------------

    @property
    def me(self) -> str:
        """Return the name of the person who is logged in."""
        if self.person is None:
            raise NotFoundError("There is nothing here.")
        return self.person

    @property
    def token(self) -> str:
        """Return the person's own token: every service is asked with it."""
        return str(self.hub_auth.get_token(self))

    @property
    def clients(self) -> Clients:
        """Return the clients of the services."""
        clients: Clients = self.settings["clients"]
        return clients

    @property
    def look(self) -> Look:
        """Return how the facility presents itself."""
        look: Look = self.settings["look"]
        return look

    @property
    def facility_settings(self) -> Settings:
        """Return the facility's settings."""
        return self.environment.settings

    @property
    def now(self) -> datetime:
        """Return the time of the request."""
        return datetime.now(timezone.utc)

    def fields(self, model: type[AnyModel]) -> AnyModel:
        """Validate the query, or the form of a POST; what the model does not know is left out."""
        given = {
            name: self.get_argument(name, strip=True)
            for name in model.model_fields
            if self.get_argument(name, None) not in (None, "")
        }
        try:
            return model.model_validate(given)
        except ValidationError as error:
            raise invalid_input(error) from None

    def own_address(self, text: str | None) -> str:
        """Return an address of the portal's own to go on to; anything else becomes the proposals page."""
        prefix = self.look.portal
        if text and text.isprintable() and "\\" not in text:
            parts = urlsplit(text)
            if not parts.scheme and not parts.netloc and parts.path.startswith(prefix):
                return text
        return prefix + "proposals"

    def asks_for_conditions(self, standing: Standing, back: str) -> bool:
        """Redirect to the conditions of use unless they are accepted in their present version."""
        if standing.conditions_accepted:
            return False
        self.see_other(f"{self.look.portal}conditions", next=back)
        return True

    def see_other(self, url: str, **query: str) -> None:
        """Redirect to a page that is fetched with GET."""
        self.redirect(url_concat(url, query), status=HTTPStatus.SEE_OTHER)

    def page(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> None:
        """Finish with a page."""
        templates: Environment = self.settings["templates"]
        shared = {
            "look": self.look,
            "person": self.person,
            "admin": self.admin,
            "auditor": self.auditor,
            "linker": self.linker,
            "current": "",
        }
        if self.person is not None:
            token = self.xsrf_token
            shared["xsrf"] = token.decode("ascii") if isinstance(token, bytes) else token
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(templates.get_template(f"portal/{template}").render({**shared, **values}))

    # --- borders -------------------------------------------------------------------------------------

    def set_default_headers(self) -> None:
        super().set_default_headers()
        look: Look = self.settings["look"]
        hub = self.settings["hub_origin"]
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'self'; img-src 'self' data: {look.logo_origin}; object-src 'none'; "
            f"base-uri 'none'; form-action 'self' {hub}; frame-ancestors 'none'",
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, DaasError):
            self.page("error.html", **error_page(error))
            return
        message = ""
        if status_code == HTTPStatus.FORBIDDEN:
            message = "This form is too old, or not of this portal. Go back, load the page again, and repeat."
        self.page(
            "error.html",
            status=status_code,
            title=TITLES.get(status_code, "Something went wrong"),
            message=message,
            part="",
            retry=status_code >= HTTPStatus.INTERNAL_SERVER_ERROR,
            sessions=False,
        )


def error_page(error: DaasError) -> dict[str, Any]:
    """Return what the error page says about an error of ours."""
    # The hub's own status says more than our table: it refused, and told why.
    refused = isinstance(error, HubRefusalError)
    status = HTTPStatus(int(str(error.details["status"]))) if refused else status_of(error)
    away = isinstance(error, UpstreamError)
    title = TITLES.get(status, "Something went wrong")
    if refused:
        title = "The session was not started"
    elif isinstance(error, QuotaExceededError):
        title = "Your quota has no room for this"
    elif isinstance(error, AccountBlockedError):
        title = "Your account is blocked"
    return {
        "status": status,
        "title": title,
        "message": error.message if status < HTTPStatus.INTERNAL_SERVER_ERROR or away else "",
        "part": PARTS.get(str(error.details.get("service", "")), "") if away else "",
        "retry": status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        "sessions": refused or isinstance(error, QuotaExceededError),
    }


class MissingHandler(PageHandler):
    """Answer for every address that is no page."""

    public = True

    async def get(self) -> None:
        """Show the page that says so."""
        raise NotFoundError("The page is not there, or it is not yours to see.")
