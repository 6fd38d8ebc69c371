"""What to do when hub, reservations and accounts disagree.

Unknown is not ended; what is under way is left alone. The hub removes the backends' things that no session of
it owns; here it is decided which reservations no longer stand for a session, and which sessions must end.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated

from pydantic import Field

from jupyterhub_daas.core.audit import Actor
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import SessionId
from jupyterhub_daas.core.proposals import Membership
from jupyterhub_daas.core.reservations import Reservation, ReservationState

_NEVER = datetime.max.replace(tzinfo=timezone.utc)


class SessionState(str, Enum):
    """What the hub says of a session."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class LiveSession(Model):
    """A session as the hub knows it; `name` is its name, `person` its owner.

    `stops_at` is when it has to have ended because its backend would take its place away soon after.
    """

    person: str
    name: str
    session_id: SessionId
    state: SessionState
    started: Moment | None = None
    last_activity: Moment | None = None
    stops_at: Moment | None = None


class HubReport(Model):
    """The hub's answer to a round: its sessions, and the session ids of the things that it removed.

    `unknown` are the backends that could not be asked, or from which not all could be removed.
    """

    sessions: tuple[LiveSession, ...] = ()
    removed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class EndReason(str, Enum):
    """Why a session is ended."""

    EXPIRED = "expired"
    IDLE = "idle"
    BLOCKED = "blocked"
    STAFF = "staff"
    UNLINKED = "unlinked"
    MEMBERSHIP = "membership"
    NO_RESERVATION = "no_reservation"


class EndCause(Model):
    """Why a session is ended, and who asked for it; None is nobody but the rules."""

    reason: EndReason
    by: Actor | None = None


class EndRequest(EndCause):
    """Staff, or another service, asks for the end of all sessions that a person has at `asked_at`."""

    asked_at: Moment

    def means(self, session: LiveSession) -> bool:
        """Tell whether a session of the person was there when the request was made."""
        return session.started is None or session.started <= self.asked_at


class Ending(Model):
    """A session that must end."""

    session: LiveSession
    cause: EndCause

    @property
    def reason(self) -> EndReason:
        """Return why."""
        return self.cause.reason


class SessionWarning(Model):
    """What a person is to know of her session: `ends_at` is None if it goes on for now."""

    session_id: SessionId
    reason: EndReason
    ends_at: Moment | None = None


class SessionWarnings(Model):
    """All warnings that hold now."""

    items: tuple[SessionWarning, ...] = ()


class Actions(Model):
    """What one round has to do."""

    release: tuple[str, ...] = ()
    activate: tuple[str, ...] = ()
    end: tuple[Ending, ...] = ()
    warn: tuple[SessionWarning, ...] = ()


class WhenMembershipIsLost(str, Enum):
    """What becomes of a session whose owner is on its proposal no longer."""

    END = "end"
    GRACE = "grace"
    KEEP = "keep"


class ReconciliationPolicy(Model):
    """How long a difference may last before it counts, in seconds; and what a lost membership does.

    A person is warned `warn_minutes` before the lifetime of her session is over.
    With ``grace`` a session ends `membership_grace_hours` after its owner lost the proposal; she is warned.
    With ``keep`` it goes on with the data that it has: no backend takes a folder away from what runs.
    """

    grace_seconds: Annotated[float, Field(ge=0)] = 30.0
    warn_minutes: Annotated[float, Field(ge=0, le=24 * 60, allow_inf_nan=False)] = 15.0
    when_membership_is_lost: WhenMembershipIsLost = WhenMembershipIsLost.GRACE
    membership_grace_hours: Annotated[float, Field(ge=0, le=24 * 31, allow_inf_nan=False)] = 1.0

    def membership_end(self, lost_at: datetime) -> datetime | None:
        """Return when a session ends whose owner lost the proposal at this moment; None is not for that."""
        if self.when_membership_is_lost is WhenMembershipIsLost.KEEP:
            return None
        grace = self.when_membership_is_lost is WhenMembershipIsLost.GRACE
        return lost_at + timedelta(hours=self.membership_grace_hours if grace else 0)


def decide(
    *,
    live: Collection[LiveSession],
    reservations: Collection[Reservation],
    blocked: Collection[str],
    now: datetime,
    policy: ReconciliationPolicy,
    asked: Mapping[str, EndRequest] | None = None,
    lost: Mapping[Membership, datetime] | None = None,
    unknown: Collection[str] = (),
) -> Actions:
    """Compare the hub's sessions with the reservations that hold something; none of both is older than `now`.

    `asked` holds the requests to end all sessions of a person, by username; `lost` since when a person of a
    running session is on its proposal no longer; `unknown` are backends that may have what the hub lost.
    """
    grace = timedelta(seconds=policy.grace_seconds)
    warnings = {each.session_id: each for each in _warnings(live, reservations, policy, lost or {}, now)}
    by_id = {each.session_id: each for each in live}
    reserved = {each.session_id: each for each in reservations}
    release = tuple(
        each.session_id
        for each in reservations
        # A reservation is made before the hub's session is there: a young one may be a start under way.
        if each.session_id not in by_id
        and each.backend not in unknown
        and now - (each.activated_at or each.created_at) >= grace
    )
    activate = tuple(
        session_id
        for session_id, session in by_id.items()
        if session.state is SessionState.RUNNING
        and session_id in reserved
        and reserved[session_id].state is ReservationState.HELD
    )
    endings = (
        Ending(session=session, cause=cause)
        for session in live
        if session.state is SessionState.RUNNING
        and (
            cause := _asked_to_end(session, blocked, asked or {})
            or _warned_long_enough(warnings.get(session.session_id), now)
            or _why_end(session, reserved.get(session.session_id), now, grace)
        )
        is not None
    )
    return Actions(release=release, activate=activate, end=tuple(endings), warn=tuple(warnings.values()))


def membership_of(reservation: Reservation) -> Membership:
    """Return the membership that a session goes on by."""
    return Membership(username=reservation.person, proposal=reservation.proposal)


def _warnings(
    live: Collection[LiveSession],
    reservations: Collection[Reservation],
    policy: ReconciliationPolicy,
    lost: Mapping[Membership, datetime],
    now: datetime,
) -> Iterator[SessionWarning]:
    there = {each.session_id: each for each in live}
    for each in reservations:
        session = there.get(each.session_id)
        if session is None:
            continue
        found = []
        since = lost.get(membership_of(each))
        if since is not None:
            found.append((EndReason.MEMBERSHIP, policy.membership_end(since)))
        over = min(filter(None, (each.expires_at, session.stops_at)), default=None)
        if over is not None and over - now <= timedelta(minutes=policy.warn_minutes):
            found.append((EndReason.EXPIRED, over))
        if found:
            reason, ends_at = min(found, key=lambda one: one[1] or _NEVER)
            yield SessionWarning(session_id=each.session_id, reason=reason, ends_at=ends_at)


def _warned_long_enough(warning: SessionWarning | None, now: datetime) -> EndCause | None:
    if warning is None or warning.ends_at is None or now < warning.ends_at:
        return None
    return EndCause(reason=warning.reason)


def _asked_to_end(
    session: LiveSession, blocked: Collection[str], asked: Mapping[str, EndRequest]
) -> EndCause | None:
    if session.person in blocked:
        return EndCause(reason=EndReason.BLOCKED)
    request = asked.get(session.person)
    if request is None or not request.means(session):
        return None
    return EndCause(reason=request.reason, by=request.by)


def _why_end(
    session: LiveSession, reservation: Reservation | None, now: datetime, grace: timedelta
) -> EndCause | None:
    if reservation is None:
        # Resources nobody counts: only after the grace time, for the list may be older than the session.
        old = session.started is not None and now - session.started >= grace
        return EndCause(reason=EndReason.NO_RESERVATION) if old else None
    over = min(filter(None, (reservation.expires_at, session.stops_at)), default=None)
    if over is not None and now >= over:
        return EndCause(reason=EndReason.EXPIRED)
    if reservation.idle_seconds is not None:
        seen = max(filter(None, (session.last_activity, session.started)), default=None)
        if seen is not None and now - seen >= timedelta(seconds=reservation.idle_seconds):
            return EndCause(reason=EndReason.IDLE)
    return None
