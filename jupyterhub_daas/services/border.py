"""The border table of the services: which error becomes which HTTP status, and how it is written."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from jupyterhub_daas.errors import (
    AccessError,
    ConflictError,
    DaasError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    SelectionError,
    TooLargeError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UpstreamError,
)

# The first class that fits counts: children stand before their parents.
STATUS: Mapping[type[DaasError], HTTPStatus] = {
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    NotFoundError: HTTPStatus.NOT_FOUND,
    TooManyAttemptsError: HTTPStatus.TOO_MANY_REQUESTS,
    AccessError: HTTPStatus.FORBIDDEN,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidInputError: HTTPStatus.BAD_REQUEST,
    SelectionError: HTTPStatus.BAD_REQUEST,
    QuotaExceededError: HTTPStatus.CONFLICT,
    ConflictError: HTTPStatus.CONFLICT,
    UpstreamError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: DaasError) -> HTTPStatus:
    """Return the HTTP status of an error; what the table lacks is our own fault."""
    for cls, status in STATUS.items():
        if isinstance(error, cls):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def error_body(error: DaasError) -> dict[str, Any]:
    """Return the JSON of an error."""
    return {"error": {"code": error.code, "message": error.message, "field": error.field, **error.details}}
