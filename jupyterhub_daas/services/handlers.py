"""The base of all API handlers: who calls, what may come in, how errors go out.

Absent and forbidden answer alike. A token in the header needs no XSRF token; a cookie does, on every change.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from jupyterhub.services.auth import HubOAuthenticated, UserNotAllowed
from pydantic import BaseModel, ValidationError
from tornado import web

from jupyterhub_daas.core.audit import Actor, ActorKind
from jupyterhub_daas.errors import (
    DaasError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UpstreamUnavailableError,
)
from jupyterhub_daas.services.border import error_body, status_of
from jupyterhub_daas.services.environment import ServiceEnvironment

log = logging.getLogger("jupyterhub_daas.services")

AnyModel = TypeVar("AnyModel", bound=BaseModel)
MAX_BODY = 64 * 1024
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Caller:
    """Who calls: a person or a service, with the scopes of the token that was shown."""

    name: str
    kind: str
    scopes: frozenset[str]

    @property
    def actor(self) -> Actor:
        """Return the caller as the audit trail names it."""
        return Actor(kind=ActorKind.PERSON if self.kind == "user" else ActorKind.SERVICE, name=self.name)

    def is_person(self, username: str) -> bool:
        """Tell whether the caller is this person."""
        return self.kind == "user" and self.name == username

    def has(self, scope: str) -> bool:
        """Tell whether the token carries a scope, without any filter on it."""
        return scope in self.scopes


class _AnswersErrors(web.RequestHandler):
    """Write every error as the contract says."""

    def set_default_headers(self) -> None:
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)

    @property
    def environment(self) -> ServiceEnvironment:
        """Return what the service was started with."""
        environment: ServiceEnvironment = self.settings["environment"]
        return environment

    def answer(self, content: BaseModel | Mapping[str, Any] | None, status: int = HTTPStatus.OK) -> None:
        """Finish with JSON, or with an empty body."""
        self.set_status(status)
        if content is None:
            self.finish()
            return
        self.set_header("Content-Type", "application/json")
        if isinstance(content, BaseModel):
            self.finish(content.model_dump_json())
        else:
            self.finish(json.dumps(content, default=_plain))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, DaasError):
            if isinstance(error, UnauthenticatedError):
                self.set_header("WWW-Authenticate", 'Bearer realm="jupyterhub"')
            self.answer(error_body(error), status_of(error))
            return
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", ", ".join(self._methods()))
        codes = {404: "not_found", 405: "method_not_allowed", 403: "xsrf", 413: "too_large"}
        code = codes.get(status_code, "invalid_input" if status_code < 500 else "internal")
        # Only our own sentences leave: a framework's message may quote what it was given.
        message = "Something failed on our side. Please try again." if status_code >= 500 else self._reason
        self.answer({"error": {"code": code, "message": message, "field": None}}, status_code)

    def _methods(self) -> list[str]:
        unanswered = web.RequestHandler._unimplemented_method
        return [each for each in self.SUPPORTED_METHODS if getattr(type(self), each.lower()) != unanswered]

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, DaasError):
            status = status_of(value)
            level = logging.ERROR if status >= 500 else logging.INFO
            log.log(level, "%s %s: %s", self.request.method, self.request.path[:200], value.code)
            return
        super().log_exception(typ, value, tb)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")


class ApiHandler(HubOAuthenticated, _AnswersErrors):  # type: ignore[misc]  # the hub ships no types
    """Answer only to callers whom the hub knows."""

    caller: Caller

    async def prepare(self) -> None:
        """Identify the caller before anything else."""
        self.caller = await self._identify()

    async def _identify(self) -> Caller:
        try:
            model = await self.hub_auth.get_user(self, sync=False)
            if model is not None:
                model = self.check_hub_user(model)
        except UserNotAllowed:
            # A known token that was not made for this service.
            raise UnauthenticatedError("This token is not for this service.") from None
        except web.HTTPError as error:
            if error.status_code >= 500:
                raise UpstreamUnavailableError(
                    "The hub does not answer. Please try again in a minute.", service="hub"
                ) from error
            raise
        if model is None:
            raise UnauthenticatedError("Please sign in, or send a valid token.")
        self._hub_auth_user_cache = model
        return Caller(
            name=model["name"], kind=model.get("kind", "user"), scopes=frozenset(model.get("scopes", ()))
        )

    def require(self, scope: str) -> None:
        """Go on only for a caller with this scope."""
        if not self.caller.has(scope):
            raise NotFoundError("There is nothing here for you.")

    def require_person(self, username: str, scope: str | None = None) -> None:
        """Go on only for this person, or for a caller with the scope."""
        if not self.caller.is_person(username) and (scope is None or not self.caller.has(scope)):
            raise NotFoundError("There is nothing here for you.")

    def body(self, model: type[AnyModel]) -> AnyModel:
        """Validate the JSON body."""
        if len(self.request.body) > MAX_BODY:
            raise TooLargeError(f"A body may have {MAX_BODY} bytes at most.")
        try:
            return model.model_validate_json(self.request.body)
        except ValidationError as error:
            raise invalid_input(error) from None

    def query(self, model: type[AnyModel]) -> AnyModel:
        """Validate the query; a name that is given twice is refused."""
        given: dict[str, str] = {}
        for name, values in self.request.query_arguments.items():
            if len(values) != 1:
                raise InvalidInputError(f"Parameter {name[:60]!r} is given twice.", field=name[:60])
            try:
                given[name] = values[0].decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidInputError("A parameter is not UTF-8.", field=name[:60]) from None
        try:
            return model.model_validate(given)
        except ValidationError as error:
            raise invalid_input(error) from None


def invalid_input(error: ValidationError) -> InvalidInputError:
    """Name the first wrong place, without repeating what was sent."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:60]
    return InvalidInputError(f"{field or 'body'}: {first['msg'][:200]}", field=field or None)


class NotFoundHandler(_AnswersErrors):
    """Answer for every path that is not in the contract."""

    def prepare(self) -> None:
        raise NotFoundError("There is nothing here.")
