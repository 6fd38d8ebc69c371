"""The border table of the spawner: which error becomes which SpawnException.

A refusal is an answer, not a fault: it carries its code as the reason, says what to do, and leaves no
traceback in the log.
"""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus

from jupyterhub.spawner import SpawnException

from jupyterhub_daas.errors import (
    AccessError,
    BackendError,
    BackendUnavailableError,
    ConflictError,
    DaasError,
    InvalidInputError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
    SelectionError,
    StartTimeoutError,
    UnauthenticatedError,
    UpstreamError,
)

# The first class that fits counts: children stand before their parents.
STATUS: Mapping[type[DaasError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    # The hub's own token was refused by a service: nothing that the person could change.
    UnauthenticatedError: HTTPStatus.SERVICE_UNAVAILABLE,
    AccessError: HTTPStatus.FORBIDDEN,
    SelectionError: HTTPStatus.BAD_REQUEST,
    InvalidInputError: HTTPStatus.BAD_REQUEST,
    QuotaExceededError: HTTPStatus.CONFLICT,
    ConflictError: HTTPStatus.CONFLICT,
    BackendUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    NoCapacityError: HTTPStatus.SERVICE_UNAVAILABLE,
    StartTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    BackendError: HTTPStatus.BAD_GATEWAY,
    UpstreamError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Refusal(SpawnException):  # type: ignore[misc]  # jupyterhub ships no types
    """Carry one of our errors through the hub to the person."""

    def __init__(self, error: DaasError) -> None:
        super().__init__(error.message, reason=error.code, status_code=status_of(error))
        # The hub's pages read this attribute; without it they show the exception's own text.
        self.jupyterhub_message = error.message


class QuietRefusals(logging.Filter):
    """Take the traceback from records about refusals: the hub logs some of them as if they were faults.

    So it does with a request that waited for a start which another request cancelled.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what asyncio says of a refusal nobody waited for; keep the hub's line without a traceback."""
        if not record.exc_info or not isinstance(record.exc_info[1], (Refusal, asyncio.CancelledError)):
            return True
        record.exc_info = None
        return record.name != "asyncio"


def status_of(error: DaasError) -> int:
    """Return the HTTP status of an error; what the table lacks is our own fault."""
    for cls, status in STATUS.items():
        if isinstance(error, cls):
            return int(status)
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)


def quieten(*loggers: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
    """Add the filter to loggers that lack it."""
    for each in loggers:
        logger = each.logger if isinstance(each, logging.LoggerAdapter) else each
        if not any(isinstance(present, QuietRefusals) for present in logger.filters):
            logger.addFilter(QuietRefusals())
