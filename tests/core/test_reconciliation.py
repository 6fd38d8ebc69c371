"""What to do when hub, reservations and accounts disagree: one row per case."""

from datetime import datetime, timedelta, timezone

import pytest

from jupyterhub_daas.core.proposals import Membership
from jupyterhub_daas.core.reconciliation import (
    EndReason,
    EndRequest,
    LiveSession,
    ReconciliationPolicy,
    SessionState,
    decide,
)
from jupyterhub_daas.core.reservations import Reservation, ReservationState
from jupyterhub_daas.core.resources import Resources

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
GRACE = timedelta(seconds=30)
POLICY = ReconciliationPolicy(grace_seconds=30)
ONE = "0000000000000001"
OTHER = "0000000000000002"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def reserved(
    session_id: str = ONE,
    *,
    state: ReservationState = ReservationState.ACTIVE,
    created: float = 3600,
    activated: float | None = 3590,
    expires: float | None = None,
    idle: int | None = None,
) -> Reservation:
    return Reservation(
        session_id=session_id,
        person="amara",
        proposal="20180301",
        session="brave-curie",
        resources=Resources(machines=1, cpus=1, memory=1, storage=0, gpus=0),
        environment="jupyter",
        flavour="small",
        backend="local",
        state=state,
        created_at=ago(created),
        activated_at=None if activated is None else ago(activated),
        expires_at=None if expires is None else ago(expires),
        idle_seconds=idle,
    )


def session(
    session_id: str = ONE,
    *,
    state: SessionState = SessionState.RUNNING,
    started: float | None = 3600,
    seen: float | None = 10,
    person: str = "amara",
    stops: float | None = None,
) -> LiveSession:
    return LiveSession(
        person=person,
        name="brave-curie",
        session_id=session_id,
        state=state,
        started=None if started is None else ago(started),
        last_activity=None if seen is None else ago(seen),
        stops_at=None if stops is None else ago(stops),
    )


def actions(
    live: list[LiveSession],
    reservations: list[Reservation],
    *,
    blocked: tuple[str, ...] = (),
    asked: dict[str, EndRequest] | None = None,
    unknown: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, EndReason]]]:
    found = decide(
        live=live,
        reservations=reservations,
        blocked=blocked,
        now=NOW,
        policy=POLICY,
        asked=asked,
        unknown=unknown,
    )
    return found.release, found.activate, [(each.session.session_id, each.reason) for each in found.end]


NOTHING: tuple[tuple[str, ...], tuple[str, ...], list[tuple[str, EndReason]]] = ((), (), [])


def test_leaves_agreement_alone() -> None:
    assert actions([session()], [reserved(expires=-1, idle=3600)]) == NOTHING


@pytest.mark.parametrize(
    ("reservation", "release"),
    [
        pytest.param(reserved(activated=31), (ONE,), id="ended without a word"),
        pytest.param(reserved(activated=30), (ONE,), id="exactly the grace time"),
        pytest.param(reserved(activated=29), (), id="active just now"),
        pytest.param(
            reserved(state=ReservationState.HELD, created=31, activated=None), (ONE,), id="start that died"
        ),
        pytest.param(
            reserved(state=ReservationState.HELD, created=5, activated=None), (), id="start under way"
        ),
        pytest.param(
            reserved(state=ReservationState.HELD, created=-5, activated=None), (), id="made after the moment"
        ),
    ],
)
def test_releases_what_stands_for_no_session(reservation: Reservation, release: tuple[str, ...]) -> None:
    assert actions([], [reservation]) == (release, (), [])


def test_keeps_what_a_backend_that_is_away_may_still_have() -> None:
    old = reserved()
    assert actions([], [old], unknown=("elsewhere",)) == ((ONE,), (), [])
    assert actions([], [old], unknown=("elsewhere", old.backend)) == NOTHING


def test_releases_by_session_id_not_by_name() -> None:
    # The same person, the same name, another start: the old reservation stands for nothing.
    assert actions([session(OTHER)], [reserved(ONE), reserved(OTHER)]) == ((ONE,), (), [])


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.STOPPING])
def test_keeps_the_reservation_of_what_is_under_way(state: SessionState) -> None:
    assert actions([session(state=state)], [reserved()]) == NOTHING


def test_activates_the_held_reservation_of_a_running_session() -> None:
    held = reserved(state=ReservationState.HELD, activated=None)
    assert actions([session()], [held]) == ((), (ONE,), [])
    assert actions([session(state=SessionState.STARTING)], [held]) == NOTHING


@pytest.mark.parametrize(
    ("live", "reservation", "reason"),
    [
        pytest.param(session(), reserved(expires=0), EndReason.EXPIRED, id="expires now"),
        pytest.param(session(), reserved(expires=-1), None, id="expires in a second"),
        pytest.param(session(seen=600), reserved(idle=600), EndReason.IDLE, id="idle for exactly the limit"),
        pytest.param(session(seen=599), reserved(idle=600), None, id="idle for almost the limit"),
        pytest.param(
            session(seen=None, started=700),
            reserved(idle=600),
            EndReason.IDLE,
            id="never seen since its start",
        ),
        pytest.param(
            session(seen=7000, started=100), reserved(idle=600), None, id="activity of the start before"
        ),
        pytest.param(
            session(seen=None, started=None), reserved(idle=600), None, id="nothing known is not idle"
        ),
        pytest.param(session(seen=9000), reserved(idle=None), None, id="no idle limit"),
        pytest.param(session(started=31), None, EndReason.NO_RESERVATION, id="holds nothing"),
        pytest.param(session(started=29), None, None, id="younger than the list of reservations may be"),
        pytest.param(session(started=None), None, None, id="no reservation, age unknown"),
        pytest.param(
            session(seen=9000), reserved(expires=0, idle=600), EndReason.EXPIRED, id="expired before idle"
        ),
    ],
)
def test_ends_what_must_end(
    live: LiveSession, reservation: Reservation | None, reason: EndReason | None
) -> None:
    expected = [] if reason is None else [(ONE, reason)]
    assert actions([live], [reservation] if reservation else []) == ((), (), expected)


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.STOPPING])
def test_never_ends_what_is_under_way(state: SessionState) -> None:
    live = session(state=state, seen=9000)
    asked = {"amara": EndRequest(reason=EndReason.STAFF, asked_at=NOW)}
    overdue = reserved(expires=1, idle=60)
    assert actions([live], [overdue], blocked=("amara",), asked=asked) == NOTHING
    assert actions([live], []) == NOTHING


def test_a_block_ends_all_sessions_of_that_person_and_no_others() -> None:
    live = [session(ONE), session(OTHER), session("0000000000000003", person="bruno")]
    held = [reserved(each.session_id) for each in live]
    expected = [(ONE, EndReason.BLOCKED), (OTHER, EndReason.BLOCKED)]
    assert actions(live, held, blocked=("amara",)) == ((), (), expected)


@pytest.mark.parametrize(
    ("started", "ended"),
    [
        pytest.param(61, True, id="before the request"),
        pytest.param(60, True, id="at its moment"),
        pytest.param(59, False, id="after it"),
        pytest.param(None, True, id="unknown"),
    ],
)
def test_a_request_means_the_sessions_of_its_moment(started: float | None, ended: bool) -> None:
    asked = {"amara": EndRequest(reason=EndReason.STAFF, asked_at=ago(60))}
    live = [session(started=started), session(OTHER, person="bruno")]
    expected = [(ONE, EndReason.STAFF)] if ended else []
    assert actions(live, [reserved(ONE), reserved(OTHER)], asked=asked) == ((), (), expected)


def test_without_grace_a_session_newer_than_the_moment_is_spared() -> None:
    # The moment is taken before the reservations are read: what starts later can't be in them.
    found = decide(
        live=[session(started=-2)],
        reservations=[],
        blocked=(),
        now=NOW,
        policy=ReconciliationPolicy(grace_seconds=0),
    )
    assert found.end == ()


LOST = Membership(username="amara", proposal="20180301")
OTHER_LOST = Membership(username="amara", proposal="20190417")
OF_ANOTHER = Membership(username="bruno", proposal="20180301")
END, KEEP, TWO_HOURS = (
    ReconciliationPolicy(when_membership_is_lost="end"),
    ReconciliationPolicy(when_membership_is_lost="keep"),
    ReconciliationPolicy(when_membership_is_lost="grace", membership_grace_hours=2),
)
# Policy, what was lost how many seconds ago, whether the person is warned, whether the session ends.
MEMBERSHIPS = {
    "nothing lost": (END, {}, False, False),
    "another proposal of hers": (END, {OTHER_LOST: 9999}, False, False),
    "the same proposal, another person": (END, {OF_ANOTHER: 9999}, False, False),
    "end": (END, {LOST: 0}, True, True),
    "grace, just lost": (TWO_HOURS, {LOST: 0}, True, False),
    "grace, a second before its end": (TWO_HOURS, {LOST: 7199}, True, False),
    "grace, at its end": (TWO_HOURS, {LOST: 7200}, True, True),
    "keep, after years": (KEEP, {LOST: 1e8}, True, False),
}


@pytest.mark.parametrize(("policy", "lost", "warned", "ends"), MEMBERSHIPS.values(), ids=MEMBERSHIPS)
def test_what_a_lost_membership_does(
    policy: ReconciliationPolicy, lost: dict[Membership, float], warned: bool, ends: bool
) -> None:
    actions = decide(
        live=[session()],
        reservations=[reserved()],
        blocked=(),
        now=NOW,
        policy=policy,
        lost={each: ago(seconds) for each, seconds in lost.items()},
    )
    assert [each.session_id for each in actions.warn] == ([ONE] if warned else [])
    assert [each.reason for each in actions.end] == ([EndReason.MEMBERSHIP] if ends else [])


def test_a_lost_membership_without_a_session_warns_nobody() -> None:
    actions = decide(
        live=[], reservations=[reserved()], blocked=(), now=NOW, policy=END, lost={LOST: ago(9999)}
    )
    assert actions.warn == ()


# How many seconds ago the lifetime was over, and the backend's patience; when the warning says that it ends.
SOON = {
    "for ever": (None, None, None, False),
    "in an hour": (-3600, None, None, False),
    "in a quarter of an hour": (-900, None, -900, False),
    "now": (0, None, 0, True),
    "the backend ends it in an hour": (None, -3600, None, False),
    "the backend ends it soon": (-3600, -60, -60, False),
    "the backend would end it": (-3600, 0, 0, True),
}


@pytest.mark.parametrize(("expires", "stops", "warned", "ends"), SOON.values(), ids=SOON)
def test_warns_before_its_time_is_over_and_then_ends_it(
    expires: float | None, stops: float | None, warned: float | None, ends: bool
) -> None:
    live, reservation = session(stops=stops), reserved(expires=expires)
    actions = decide(live=[live], reservations=[reservation], blocked=(), now=NOW, policy=POLICY)
    said = [(each.reason, each.ends_at) for each in actions.warn]
    assert said == ([] if warned is None else [(EndReason.EXPIRED, ago(warned))])
    assert [each.reason for each in actions.end] == ([EndReason.EXPIRED] if ends else [])


@pytest.mark.parametrize(
    ("expires", "policy", "reason"),
    [
        (-60, TWO_HOURS, EndReason.EXPIRED),
        (-60, KEEP, EndReason.EXPIRED),
        (-3600, KEEP, EndReason.MEMBERSHIP),
        (-60, END, EndReason.MEMBERSHIP),
    ],
)
def test_warns_of_what_comes_first(expires: float, policy: ReconciliationPolicy, reason: EndReason) -> None:
    actions = decide(
        live=[session()],
        reservations=[reserved(expires=expires)],
        blocked=(),
        now=NOW,
        policy=policy,
        lost={LOST: NOW},
    )
    assert [each.reason for each in actions.warn] == [reason]
