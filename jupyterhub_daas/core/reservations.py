"""Reservations: resources held for a session, from before it starts until it has ended.

Ended ones stay as the accounting record. A held one that is never made active lapses by itself.
"""

from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Identifier, SessionId, Slug, Username
from jupyterhub_daas.core.resources import Resources

DEFAULT_HOLD_SECONDS = 600
MAX_HOLD_SECONDS = 24 * 3600
MAX_IDLE_SECONDS = 10 * 366 * 24 * 3600


class ReservationState(str, Enum):
    """Where a reservation stands; only *held* and *active* ones count as used."""

    HELD = "held"
    ACTIVE = "active"
    RELEASED = "released"
    LAPSED = "lapsed"


HOLDING = frozenset({ReservationState.HELD, ReservationState.ACTIVE})


class ReservationRequest(Model):
    """What a session is about to hold; `session` is its name, `idle_seconds` its idle limit."""

    person: Username
    proposal: Identifier
    session: Slug
    resources: Resources
    environment: Slug
    flavour: Slug
    backend: Slug
    instruments: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    expires_at: Moment | None = None
    idle_seconds: Annotated[int, Field(gt=0, le=MAX_IDLE_SECONDS)] | None = None
    hold_seconds: Annotated[int, Field(gt=0, le=MAX_HOLD_SECONDS)] = DEFAULT_HOLD_SECONDS


class Reservation(ReservationRequest):
    """A reservation as *quotas* keeps it."""

    session_id: SessionId
    state: ReservationState
    created_at: datetime
    activated_at: datetime | None = None
    ended_at: datetime | None = None
