"""The lifecycle API: who may ask, one call, one answer."""

from datetime import datetime, timedelta
from http import HTTPStatus

from jupyterhub_daas.core.names import USERNAME, matches
from jupyterhub_daas.core.reconciliation import SessionWarning
from jupyterhub_daas.core.reservations import Reservation
from jupyterhub_daas.errors import NotFoundError
from jupyterhub_daas.services.handlers import ApiHandler
from jupyterhub_daas.services.lifecycle.models import EndBody, OwnSession, OwnSessions
from jupyterhub_daas.services.lifecycle.rounds import Rounds, utc_now
from jupyterhub_daas.services.lifecycle.store import LifecycleStore

END = "custom:daas:sessions:end"
ENDINGS_SHOWN_FOR = timedelta(days=7)


class LifecycleHandler(ApiHandler):
    """Share what the routes have in common."""

    @property
    def rounds(self) -> Rounds:
        """Return the rounds."""
        rounds: Rounds = self.settings["rounds"]
        return rounds


class EndHandler(LifecycleHandler):
    """The end of all sessions of a person."""

    async def post(self, username: str) -> None:
        """Take the request; it is carried out as soon as hub, quotas and accounts answer."""
        self.require(END)
        if not matches(USERNAME, username):
            raise NotFoundError("There is nothing here for you.")
        self.rounds.ask_to_end(username, self.body(EndBody).reason, by=self.caller.actor)
        self.answer({}, HTTPStatus.ACCEPTED)


class SessionsHandler(LifecycleHandler):
    """A person's own sessions, as far as their end is concerned."""

    async def get(self, username: str) -> None:
        """Answer with when each ends, and with what was ended of late and why."""
        self.require_person(username)
        store: LifecycleStore = self.settings["store"]
        reservations = await self.rounds.read_reservations(username)
        endings = await store.list_endings(username, since=utc_now() - ENDINGS_SHOWN_FOR)
        rounds = self.rounds
        items = tuple(
            own_session(each, rounds.last_activity(each.session_id), rounds.warning(each.session_id))
            for each in reservations
        )
        self.answer(OwnSessions(items=items, endings=endings))


class ReconcileHandler(LifecycleHandler):
    """A round now."""

    async def post(self) -> None:
        """Run it, and answer with what it did."""
        self.require(END)
        self.answer(await self.rounds.run())


def own_session(
    reservation: Reservation, last_activity: datetime | None, warning: SessionWarning | None = None
) -> OwnSession:
    """Tell a person when a session ends if nothing changes."""
    idle_end = None
    if last_activity is not None and reservation.idle_seconds is not None:
        idle_end = last_activity + timedelta(seconds=reservation.idle_seconds)
    warned_end = None if warning is None else warning.ends_at
    return OwnSession(
        session_id=reservation.session_id,
        session=reservation.session,
        proposal=reservation.proposal,
        environment=reservation.environment,
        flavour=reservation.flavour,
        created_at=reservation.created_at,
        expires_at=reservation.expires_at,
        idle_seconds=reservation.idle_seconds,
        last_activity=last_activity,
        ends_at=min(filter(None, (reservation.expires_at, idle_end, warned_end)), default=None),
        warning=None if warning is None else warning.reason,
    )


ROUTES = [
    (r"api/v1/people/([^/]+)/end", EndHandler),
    (r"api/v1/people/([^/]+)/sessions", SessionsHandler),
    ("api/v1/reconcile", ReconcileHandler),
]
