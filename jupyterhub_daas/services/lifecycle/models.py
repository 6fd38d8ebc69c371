"""What comes in and goes out of the lifecycle API, beside the models of core."""

from datetime import datetime
from typing import Literal

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.reconciliation import EndReason


class EndBody(Model):
    """Why the sessions of a person are ended; she reads it."""

    reason: Literal[EndReason.BLOCKED, EndReason.STAFF, EndReason.UNLINKED]


class RecordedEnding(Model):
    """A session that was ended here, and why."""

    session_id: str
    person: str
    session: str
    reason: EndReason
    at: datetime


class RoundOutcome(Model):
    """What a round did; `removed` are the things that the hub found without a session."""

    released: tuple[str, ...] = ()
    activated: tuple[str, ...] = ()
    ended: tuple[RecordedEnding, ...] = ()
    removed: tuple[str, ...] = ()


class OwnSession(Model):
    """A person's session, and when it ends if nothing changes; `last_activity` is as of the last round.

    `warning` is a reason for which it ends early, or would if the facility did not let it go on.
    """

    session_id: str
    session: str
    proposal: str
    environment: str
    flavour: str
    created_at: datetime
    expires_at: datetime | None
    idle_seconds: int | None
    last_activity: datetime | None
    ends_at: datetime | None
    warning: EndReason | None = None


class OwnSessions(Model):
    """A person's sessions, and those that were ended here of late, the latest first."""

    items: tuple[OwnSession, ...]
    endings: tuple[RecordedEnding, ...]
