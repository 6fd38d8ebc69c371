"""What the page of one session shows, as the hub knows it: also the wire format between hub and portal.

A session's log is its owner's, and whatever reads like a secret is taken out of it before it leaves the hub.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, ValidationError

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.resources import Resources

MAX_LOG_LINES = 1000
MAX_LOG_BYTES = 256 * 1024
REMOVED = "[removed]"
# Jupyter and its extensions write addresses with a token in them, and headers when they are told to debug.
_SECRET = re.compile(
    r"(?i)((?:token|password|passwd|secret|api[_-]?key|authorization)"
    r"[\"']?\s*[=:]\s*(?:(?:token|bearer)\s+)?[\"']?)[^\s\"'&,;]+"
)


class SessionEvent(Model):
    """One thing that a start told; `code` is that of the error that ended it."""

    time: Moment | None = None
    progress: Annotated[int, Field(ge=0, le=100)] = 0
    message: Annotated[str, Field(max_length=2000)]
    code: str = ""


class SessionDetails(Model):
    """One session; `state` is starting, running, stopping or stopped, `limits` those of its flavour."""

    person: str
    name: str
    session_id: str
    state: str
    waiting: str = ""
    note: str = ""
    proposal: str = ""
    environment: str = ""
    flavour: str = ""
    backend: str = ""
    limits: Resources | None = None
    created: Moment | None = None
    started: Moment | None = None
    expires_at: Moment | None = None
    last_activity: Moment | None = None
    events: tuple[SessionEvent, ...] = ()


class SessionLog(Model):
    """The end of a session's own log."""

    text: str


def events_of(told: Iterable[object]) -> tuple[SessionEvent, ...]:
    """Return the events that a start told, as far as they can be understood."""
    found = []
    for event in told:
        if not isinstance(event, dict) or not isinstance(event.get("message"), str):
            continue
        known: dict[str, Any] = {key: event[key] for key in SessionEvent.model_fields if key in event}
        try:
            found.append(SessionEvent.model_validate({**known, "message": event["message"][:2000]}))
        except ValidationError:
            found.append(SessionEvent(message=event["message"][:2000]))
    return tuple(found)


def fit_to_show(log: str, *, lines: int, secrets: Iterable[str] = ()) -> str:
    """Return the last lines of a log within the bounds, without these secrets and what looks like one."""
    text = log[-4 * MAX_LOG_BYTES :]
    for secret in secrets:
        if secret:
            text = text.replace(secret, REMOVED)
    text = _SECRET.sub(rf"\g<1>{REMOVED}", text)
    kept = text.splitlines()[-min(lines, MAX_LOG_LINES) :]
    return "\n".join(kept).encode(errors="replace")[-MAX_LOG_BYTES:].decode(errors="ignore")
