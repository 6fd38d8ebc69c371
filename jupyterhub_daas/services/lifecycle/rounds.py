"""Rounds: read three parts, decide, act. Nothing is done on ignorance: a part away skips the round.

The order of reading makes races harmless. First the moment, then the reservations, then the hub, then the
blocks:

- A reservation that the hub's later answer has no session for belongs to a start that is over or has just
  begun; the grace time, counted to the early moment, spares the latter.
- A session that is newer than the list of reservations started after the moment, so its age there is below
  any grace time. Read the other way round, a start in between would look like a session nobody reserved,
  however long the hub took to answer.
- Blocks and memberships come last: a person who was let in again before a new start is never taken for
  blocked, nor for one who lost the proposal. Only the memberships of what runs are asked for. If nobody can
  tell them, no session is ended for that, and the round goes on.

A release names the session id, which no other session ever has. An ending can only name person and session,
and the same name may stand for a newer session by then: so the hub is asked for that one again right before.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta, timezone

from prometheus_client import Counter, Gauge
from pydantic import TypeAdapter

from jupyterhub_daas.clients.accounts import AccountsClient
from jupyterhub_daas.clients.hub import HubClient
from jupyterhub_daas.clients.proposals import ProposalsClient
from jupyterhub_daas.clients.quotas import QuotasClient
from jupyterhub_daas.core.audit import Actor
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.proposals import Membership
from jupyterhub_daas.core.reconciliation import (
    Actions,
    Ending,
    EndReason,
    EndRequest,
    HubReport,
    LiveSession,
    SessionState,
    SessionWarning,
    decide,
    membership_of,
)
from jupyterhub_daas.core.reservations import Reservation
from jupyterhub_daas.core.settings import LifecycleSettings
from jupyterhub_daas.errors import ConflictError, DaasError, NotFoundError, QuotaExceededError
from jupyterhub_daas.services.lifecycle.models import RecordedEnding, RoundOutcome
from jupyterhub_daas.services.lifecycle.store import LifecycleStore

log = logging.getLogger("jupyterhub_daas.services.lifecycle")

# Until the first good round: the hub starts its services before it answers them.
FIRST_SECONDS = 1.0
ENDINGS_AT_ONCE = 8
ENDINGS_KEPT = timedelta(days=30)

ACTIONS = Counter("daas_lifecycle_actions", "What the rounds did.", ["action"])
SKIPPED = Counter("daas_lifecycle_rounds_skipped", "Rounds that were skipped, by the error.", ["code"])
AGE = Gauge("daas_lifecycle_last_good_round_age_seconds", "Time since the last round that was not skipped.")

_MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(timezone.utc)


class Rounds:
    """Run rounds, one at a time, and keep what the last one saw."""

    def __init__(
        self,
        *,
        hub: HubClient,
        quotas: QuotasClient,
        accounts: AccountsClient,
        proposals: ProposalsClient,
        store: LifecycleStore,
        settings: LifecycleSettings,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._hub, self._quotas, self._accounts, self._store = hub, quotas, accounts, store
        self._proposals = proposals
        self._settings, self._clock = settings, clock
        self._one_at_a_time = asyncio.Lock()
        self._wake = asyncio.Event()
        self._asked: dict[str, EndRequest] = {}
        self._seen: dict[str, LiveSession] = {}
        self._warned: dict[str, SessionWarning] = {}
        self._good_at: datetime | None = None
        self._since = clock()
        AGE.set_function(lambda: self.age().total_seconds())

    def age(self) -> timedelta:
        """Return how long the last good round is ago, or how long there has been none."""
        return self._clock() - (self._good_at or self._since)

    def last_activity(self, session_id: str) -> datetime | None:
        """Return what the last good round saw of a session."""
        session = self._seen.get(session_id)
        moments = (session.last_activity, session.started) if session else ()
        return max(filter(None, moments), default=None)

    def warning(self, session_id: str) -> SessionWarning | None:
        """Return what the last good round warned of."""
        return self._warned.get(session_id)

    def ask_to_end(self, person: str, reason: EndReason, *, by: Actor) -> None:
        """Have all sessions that a person has now ended, as soon as the parts answer."""
        self._asked[person] = EndRequest(reason=reason, by=by, asked_at=self._clock())
        self._wake.set()

    async def keep_running(self) -> None:
        """Run a round now, and then in the interval or whenever one is asked for."""
        while True:
            self._wake.clear()
            try:
                await self.run()
            except DaasError as error:
                log.warning("A round is skipped, nothing is ended: %s", error.message)
            pause = self._settings.interval_seconds
            if self._good_at is None:
                pause = min(pause, FIRST_SECONDS)
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except asyncio.TimeoutError:
                continue

    async def run(self) -> RoundOutcome:
        """Run one round; raise if a part is away."""
        async with self._one_at_a_time:
            now = self._clock()
            asked = dict(self._asked)
            try:
                # The order matters, see above.
                reservations = await self.read_reservations()
                report = await self._hub.reconcile()
                blocked = await self._accounts.blocked()
            except DaasError as error:
                SKIPPED.labels(error.code).inc()
                raise
            losses = await self._losses(reservations, report, now)
            actions = decide(
                live=report.sessions,
                reservations=reservations,
                blocked=frozenset(blocked),
                now=now,
                policy=self._settings,
                asked=asked,
                lost=losses,
                unknown=report.unknown,
            )
            self._seen = {each.session_id: each for each in report.sessions}
            outcome = await self._act(actions, report)
            # While nobody can tell who lost a proposal, who was warned of that still is.
            kept = {} if losses is not None else self._warned_of(EndReason.MEMBERSHIP)
            await self._warn({**kept, **{each.session_id: each for each in actions.warn}})
            self._forget_answered(asked, report, outcome)
            await self._store.delete_older(now - ENDINGS_KEPT)
            self._good_at = self._clock()
            return outcome

    async def _losses(
        self, reservations: Collection[Reservation], report: HubReport, now: datetime
    ) -> dict[Membership, datetime] | None:
        """Return since when people of running sessions have lost the proposal, or None if nobody can tell."""
        live = {each.session_id for each in report.sessions}
        going_on = {membership_of(each) for each in reservations if each.session_id in live}
        try:
            held = await self._proposals.held(going_on)
        except DaasError as error:
            log.warning("No session is ended for a lost proposal: %s", error.message)
            SKIPPED.labels(f"membership_{error.code}").inc()
            return None
        return await self._store.note_losses(going_on - held, now=now)

    def _warned_of(self, reason: EndReason) -> dict[str, SessionWarning]:
        return {key: each for key, each in self._warned.items() if each.reason is reason}

    async def _warn(self, warnings: dict[str, SessionWarning]) -> None:
        """Have the hub show the warnings on the sessions' cards; it forgets them when it restarts."""
        had, self._warned = self._warned, warnings
        if not warnings and not had:
            return
        try:
            await self._hub.warn(tuple(warnings.values()))
        except DaasError as error:
            log.warning("The hub does not show the warnings yet: %s", error.message)

    async def read_reservations(self, person: str | None = None) -> tuple[Reservation, ...]:
        """Return all reservations that hold something, or those of a person."""
        return (await self._quotas.reservations(person=person)).items

    async def _act(self, actions: Actions, report: HubReport) -> RoundOutcome:
        released = [each for each in actions.release if await self._release(each)]
        activated = [each for each in actions.activate if await self._activate(each)]
        at_once = asyncio.Semaphore(ENDINGS_AT_ONCE)
        ended = await asyncio.gather(*(self._end(each, at_once) for each in actions.end))
        if report.removed:
            log.info("The hub removed what ran without a session: %s", ", ".join(report.removed))
            ACTIONS.labels("remove").inc(len(report.removed))
        return RoundOutcome(
            released=tuple(released),
            activated=tuple(activated),
            ended=tuple(each for each in ended if each is not None),
            removed=report.removed,
        )

    async def _release(self, session_id: str) -> bool:
        try:
            await self._quotas.release(session_id)
        except DaasError as error:
            log.warning("Reservation %s is not released: %s", session_id, error.message)
            return False
        log.info("Released reservation %s: the hub has no such session", session_id)
        ACTIONS.labels("release").inc()
        return True

    async def _activate(self, session_id: str) -> bool:
        try:
            await self._quotas.activate(session_id)
        except DaasError as error:
            log.warning("Reservation %s is not made active: %s", session_id, error.message)
            return False
        ACTIONS.labels("activate").inc()
        return True

    async def _end(self, ending: Ending, at_once: asyncio.Semaphore) -> RecordedEnding | None:
        session, reason = ending.session, ending.reason
        record = RecordedEnding(
            session_id=session.session_id,
            person=session.person,
            session=session.name,
            reason=reason,
            at=self._clock(),
        )
        async with at_once:
            try:
                if not await self._still_due(ending):
                    return None
                # Before the end, so that the person finds the reason even if we don't survive it.
                await self._store.create_ending(record)
                await self._hub.end(session.person, session.name, cause=ending.cause)
            except DaasError as error:
                await self._store.delete_ending(session.session_id)
                log.warning("Session %s of %s is not ended: %s", session.name, session.person, error.message)
                return None
        log.info("Ended session %s of %s: %s", session.name, session.person, reason.value)
        ACTIONS.labels(f"end_{reason.value}").inc()
        return record

    async def _still_due(self, ending: Ending) -> bool:
        session = ending.session
        if ending.reason is EndReason.NO_RESERVATION and await self._reserved_again(session.session_id):
            return False
        present = await self._hub.session(session.person, session.name)
        if present is None:
            return False
        started = present.get("started")
        if started is None or session.started is None:
            return started is not None
        # The report and the hub's model may round differently; no session stops and starts within a second.
        return abs(_MOMENT.validate_python(started) - session.started) < timedelta(seconds=1)

    async def _reserved_again(self, session_id: str) -> bool:
        """Give a running session back what it held, if quotas was away for so long that it lapsed."""
        try:
            await self._quotas.activate(session_id)
        except (NotFoundError, ConflictError, QuotaExceededError):
            return False
        log.info("Session %s holds its resources again: the reservation had lapsed", session_id)
        ACTIONS.labels("activate").inc()
        return True

    def _forget_answered(
        self, asked: dict[str, EndRequest], report: HubReport, outcome: RoundOutcome
    ) -> None:
        over = {each.session_id for each in outcome.ended}
        going_on = [
            each
            for each in report.sessions
            if each.state is not SessionState.STOPPING and each.session_id not in over
        ]
        for person, request in asked.items():
            # One that was starting is ended in the round that finds it running.
            remains = any(each.person == person and request.means(each) for each in going_on)
            if not remains and self._asked.get(person) == request:
                del self._asked[person]
