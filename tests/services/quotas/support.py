"""What the quotas tests share: requests, a clock that is set by hand, and counting what a database holds."""

import secrets
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.quota import Entitlement, QuotaPolicy
from jupyterhub_daas.core.reservations import ReservationRequest, ReservationState
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.services.quotas.store import QuotaStore
from jupyterhub_daas.services.quotas.tables import facility, reservations, resources_of
from jupyterhub_daas.services.quotas.transaction import SUMS

G = 1 << 30
ALL = frozenset(ReservationState)
SMALL = Resources(machines=1, cpus=1, memory=3 * G, storage=5 * G)
DEFAULT = Limits(machines=5, cpus=10, memory=30 * G, storage=80 * G)
ENTITLED = Entitlement(limits=DEFAULT)
POLICY = QuotaPolicy(default=DEFAULT, default_flavour="small", proposal_default=Limits(machines=20))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        """Return the moment."""
        return self.now

    def go_on(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)


def new_id() -> str:
    """Return a fresh session id."""
    return secrets.token_hex(8)


def asking(**given: Any) -> ReservationRequest:
    """Return a request for the default image."""
    content: dict[str, Any] = {
        "person": "amara",
        "proposal": "20180301",
        "session": "brave-curie",
        "resources": SMALL,
        "environment": "jupyter",
        "flavour": "small",
        "backend": "local",
        **given,
    }
    return ReservationRequest(**content)


async def entitled(username: str) -> Entitlement:
    """Entitle everybody to the default."""
    return ENTITLED


async def held(engine: AsyncEngine) -> tuple[Resources, Resources]:
    """Return the facility's sum as it is kept, and as its reservations say."""
    async with engine.connect() as connection:
        kept = (await connection.execute(select(facility))).one()
        counted = (await connection.execute(select(*SUMS).where(reservations.c.ended_at.is_(None)))).one()
    return resources_of(kept), resources_of(counted)


async def number_of_rows(engine: AsyncEngine) -> int:
    """Return how many reservations there ever were."""
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(reservations))).scalar_one())


async def outcome(store: QuotaStore, request: ReservationRequest, session_id: str = "") -> str:
    try:
        granted = await store.reserve(session_id or new_id(), request, ENTITLED)
    except DaasError as error:
        return error.code
    return "created" if granted.created else "stands"


async def state_of(store: QuotaStore, session_id: str) -> ReservationState:
    page = await store.reservations(person=None, proposal=None, states=ALL, offset=0, limit=None)
    return next(item.state for item in page.items if item.session_id == session_id)
