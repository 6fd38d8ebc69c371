"""What one transaction decides, without database or network.

The ledger holds the rows and sums that the transaction read under the lock, changes them as each request is
granted, and says in the end which rows to write: so many requests can be decided one after the other and
committed together, none of them seeing less than the ones before it hold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from jupyterhub_daas.core.quota import (
    Entitlement,
    QuotaCheck,
    QuotaPolicy,
    QuotaScope,
    decide,
    facility_limits,
    proposal_limits,
    refusal,
)
from jupyterhub_daas.core.reservations import HOLDING, Reservation, ReservationRequest, ReservationState
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.errors import ConflictError, NotFoundError

Key = tuple[QuotaScope, str]
FACILITY: Key = (QuotaScope.FACILITY, "")


@dataclass(frozen=True)
class Reserve:
    """Hold resources for a session that is about to start."""

    session_id: str
    request: ReservationRequest
    entitlement: Entitlement


@dataclass(frozen=True)
class Activate:
    """Say that a session runs; the entitlement is needed only if its reservation lapsed meanwhile."""

    session_id: str
    entitlement: Entitlement | None = None


@dataclass(frozen=True)
class Prolong:
    """Hold on for a session that waits for its turn; `expires_at` is when it would end if it began now."""

    session_id: str
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Release:
    """Let go of what a session holds."""

    session_id: str


Change = Reserve | Activate | Prolong | Release


@dataclass(frozen=True)
class Granted:
    """A reservation as it stands after a change; `created` tells whether the change made it."""

    reservation: Reservation
    created: bool = False


@dataclass(frozen=True)
class EntitlementNeeded:
    """The reservation lapsed: it can only be decided anew, with what this person is entitled to."""

    person: str


Outcome = Granted | EntitlementNeeded | None


def keys_of(person: str, proposal: str) -> tuple[Key, Key, Key]:
    """Return the sums that a reservation counts in."""
    return (QuotaScope.PERSON, person), (QuotaScope.PROPOSAL, proposal), FACILITY


@dataclass
class Ledger:
    """Rows by session id, sums of what is held, and overrides in force, for the keys of all changes."""

    policy: QuotaPolicy
    now: datetime
    rows: dict[str, Reservation]
    used: dict[Key, Resources]
    overrides: Mapping[Key, Limits]
    inserted: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)
    prolonged: set[str] = field(default_factory=set)

    def apply(self, change: Change) -> Outcome:
        """Grant a change, or raise why not; a refused change leaves everything as it was."""
        match change:
            case Reserve():
                return self._reserve(change)
            case Activate():
                return self._activate(change)
            case Prolong():
                return self._prolong(change)
            case Release():
                self._release(change)
                return None

    def _reserve(self, change: Reserve) -> Granted:
        known = self.rows.get(change.session_id)
        if known is not None:
            return self._again(known, change.request)
        self._check(change.request, change.entitlement)
        reservation = Reservation.model_construct(
            **change.request.__dict__,
            session_id=change.session_id,
            state=ReservationState.HELD,
            created_at=self.now,
            activated_at=None,
            ended_at=None,
        )
        self._hold(reservation)
        self.rows[change.session_id] = reservation
        self.inserted.add(change.session_id)
        return Granted(reservation, created=True)

    def _again(self, known: Reservation, request: ReservationRequest) -> Granted:
        if known.state not in HOLDING:
            raise ConflictError(
                f"The reservation of this session id is {known.state.value}. A new start needs a new id.",
                field="session_id",
            )
        if any(getattr(known, name) != getattr(request, name) for name in ReservationRequest.model_fields):
            raise ConflictError(
                "Another reservation stands under this session id. A new start needs a new id.",
                field="session_id",
            )
        return Granted(known)

    def _activate(self, change: Activate) -> Granted | EntitlementNeeded:
        known = self.rows.get(change.session_id)
        if known is None:
            raise NotFoundError("There is no such reservation.")
        if known.state is ReservationState.ACTIVE:
            return Granted(known)
        if known.state is ReservationState.RELEASED:
            raise ConflictError("This reservation is released: its session has ended.", field="state")
        if known.state is ReservationState.LAPSED:
            # The session came up later than it said. What it held may be another's by now.
            if change.entitlement is None:
                return EntitlementNeeded(known.person)
            self._check(known, change.entitlement)
            self._hold(known)
        return Granted(self._put(known, ReservationState.ACTIVE, activated_at=self.now, ended_at=None))

    def _prolong(self, change: Prolong) -> Granted:
        known = self.rows.get(change.session_id)
        if known is None:
            raise NotFoundError("There is no such reservation.")
        if known.state is not ReservationState.HELD:
            raise ConflictError(f"This reservation is {known.state.value}.", field="state")
        self.prolonged.add(change.session_id)
        return Granted(self._put(known, ReservationState.HELD, expires_at=change.expires_at))

    def _release(self, change: Release) -> None:
        known = self.rows.get(change.session_id)
        if known is None or known.state not in HOLDING:
            return
        for key in keys_of(known.person, known.proposal):
            self.used[key] -= known.resources
        # A clock that was set back must not make a session end before it began.
        self._put(known, ReservationState.RELEASED, ended_at=max(self.now, known.created_at))

    def _put(self, known: Reservation, state: ReservationState, **moments: datetime | None) -> Reservation:
        changed = known.model_copy(update={"state": state, **moments})
        self.rows[known.session_id] = changed
        if known.session_id not in self.inserted:
            self.updated.add(known.session_id)
        return changed

    def _hold(self, reservation: Reservation) -> None:
        for key in keys_of(reservation.person, reservation.proposal):
            self.used[key] += reservation.resources

    def _check(self, request: ReservationRequest, entitlement: Entitlement) -> None:
        decision = decide(request.resources, self._checks(request, entitlement))
        if not decision.allowed:
            raise refusal(decision)

    def _checks(self, request: ReservationRequest, entitlement: Entitlement) -> Iterable[QuotaCheck]:
        person, proposal, facility = keys_of(request.person, request.proposal)
        yield self._check_of(person, entitlement.limits)
        if not entitlement.bypass:
            yield self._check_of(proposal, proposal_limits(self.policy, request.proposal))
        yield self._check_of(facility, facility_limits(self.policy))

    def _check_of(self, key: Key, limits: Limits) -> QuotaCheck:
        override = self.overrides.get(key)
        return QuotaCheck(
            scope=key[0],
            key=key[1],
            limits=limits if override is None else limits.merged(override),
            used=self.used[key],
        )
