"""The ledger against a plain model: whatever comes in whatever order, the sums are those of what is held."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from jupyterhub_daas.core.quota import Entitlement, QuotaPolicy, QuotaScope
from jupyterhub_daas.core.reservations import HOLDING, ReservationState
from jupyterhub_daas.core.resources import DIMENSIONS, Limits, Resources
from jupyterhub_daas.errors import ConflictError, DaasError, NotFoundError, QuotaExceededError
from jupyterhub_daas.services.quotas.ledger import (
    FACILITY,
    Activate,
    EntitlementNeeded,
    Granted,
    Ledger,
    Release,
    Reserve,
    keys_of,
)
from tests.services.quotas.support import ENTITLED, POLICY, Clock, asking

PEOPLE, PROPOSALS = ("amara", "bruno"), ("20180301", "20190417")
TIGHT = QuotaPolicy(proposal_default=Limits(machines=4), facility=Limits(machines=6, cpus=7.5))
sizes = st.builds(
    Resources,
    machines=st.integers(0, 2),
    cpus=st.integers(0, 3000).map(lambda thousandths: thousandths / 1000),
    memory=st.integers(0, 20 << 30),
)


def empty(policy: QuotaPolicy = POLICY) -> Ledger:
    used = {FACILITY: Resources()}
    used |= {(QuotaScope.PERSON, name): Resources() for name in PEOPLE}
    used |= {(QuotaScope.PROPOSAL, name): Resources() for name in PROPOSALS}
    return Ledger(policy=policy, now=Clock()(), rows={}, used=used, overrides={})


class LedgerMachine(RuleBasedStateMachine):
    """Reserve, activate, release and lapse at random."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = empty(TIGHT)
        self.made = 0

    @rule(target=ids, person=st.sampled_from(PEOPLE), proposal=st.sampled_from(PROPOSALS), size=sizes)
    def reserve(self, person: str, proposal: str, size: Resources) -> str:
        self.made += 1
        session_id = f"{self.made:016x}"
        request = asking(person=person, proposal=proposal, resources=size)
        try:
            self.ledger.apply(Reserve(session_id, request, ENTITLED))
        except QuotaExceededError:
            assert session_id not in self.ledger.rows
        return session_id

    @rule(session_id=ids)
    def activate(self, session_id: str) -> None:
        known = self.ledger.rows.get(session_id)
        if known is not None and known.state in HOLDING:
            self.ledger.apply(Activate(session_id, ENTITLED))
            return
        with contextlib.suppress(DaasError):
            self.ledger.apply(Activate(session_id, ENTITLED))

    @rule(session_id=ids)
    def release(self, session_id: str) -> None:
        self.ledger.apply(Release(session_id))
        known = self.ledger.rows.get(session_id)
        assert known is None or known.state not in HOLDING

    @rule(session_id=ids)
    def lapse(self, session_id: str) -> None:
        known = self.ledger.rows.get(session_id)
        if known is not None and known.state is ReservationState.HELD:
            lapsed = known.model_copy(update={"state": ReservationState.LAPSED, "ended_at": self.ledger.now})
            self.ledger.rows[session_id] = lapsed
            for key in keys_of(known.person, known.proposal):
                self.ledger.used[key] -= known.resources

    @invariant()
    def sums_are_what_is_held(self) -> None:
        expected = dict.fromkeys(self.ledger.used, Resources())
        for row in self.ledger.rows.values():
            if row.state in HOLDING:
                for key in keys_of(row.person, row.proposal):
                    expected[key] += row.resources
        assert self.ledger.used == expected

    @invariant()
    def no_limit_is_passed(self) -> None:
        limits = {QuotaScope.PERSON: ENTITLED.limits, QuotaScope.PROPOSAL: TIGHT.proposal_default}
        for key, used in self.ledger.used.items():
            bound = limits.get(key[0], TIGHT.facility)
            for name in DIMENSIONS:
                limit = bound.of(name)
                assert limit is None or getattr(used, name) <= limit


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

ONE = "0" * 16


def test_the_same_request_again_changes_nothing() -> None:
    ledger = empty()
    assert ledger.apply(Reserve(ONE, asking(), ENTITLED)) == Granted(ledger.rows[ONE], created=True)
    used = dict(ledger.used)
    assert ledger.apply(Reserve(ONE, asking(), ENTITLED)) == Granted(ledger.rows[ONE], created=False)
    assert ledger.used == used


@pytest.mark.parametrize(
    "change",
    [
        {"person": "bruno"},
        {"proposal": "20190417"},
        {"session": "calm-curie"},
        {"resources": Resources(machines=1)},
        {"environment": "desktop"},
        {"flavour": "large"},
        {"backend": "slurm"},
        {"instruments": ("id21",)},
        {"expires_at": Clock()() + timedelta(hours=1)},
        {"idle_seconds": 60},
        {"hold_seconds": 60},
    ],
    ids=lambda change: next(iter(change)),
)
def test_refuses_another_request_under_the_same_id(change: dict[str, object]) -> None:
    ledger = empty()
    ledger.apply(Reserve(ONE, asking(), ENTITLED))
    with pytest.raises(ConflictError):
        ledger.apply(Reserve(ONE, asking(**change), ENTITLED))


def test_refuses_an_id_that_was_used() -> None:
    ledger = empty()
    ledger.apply(Reserve(ONE, asking(), ENTITLED))
    ledger.apply(Release(ONE))
    with pytest.raises(ConflictError, match="released"):
        ledger.apply(Reserve(ONE, asking(), ENTITLED))
    with pytest.raises(ConflictError):
        ledger.apply(Activate(ONE))


def test_refuses_to_activate_what_is_not_there() -> None:
    with pytest.raises(NotFoundError):
        empty().apply(Activate(ONE))


def test_a_lapsed_reservation_is_decided_anew() -> None:
    ledger = empty()
    ledger.apply(Reserve(ONE, asking(), ENTITLED))
    row = ledger.rows[ONE]
    ledger.rows[ONE] = row.model_copy(update={"state": ReservationState.LAPSED, "ended_at": ledger.now})
    for key in keys_of(row.person, row.proposal):
        ledger.used[key] -= row.resources
    assert ledger.apply(Activate(ONE)) == EntitlementNeeded("amara")
    with pytest.raises(QuotaExceededError):
        ledger.apply(Activate(ONE, Entitlement(limits=Limits(machines=0))))
    granted = ledger.apply(Activate(ONE, ENTITLED))
    assert isinstance(granted, Granted)
    assert granted.reservation.state is ReservationState.ACTIVE
    assert granted.reservation.ended_at is None
    assert ledger.used[FACILITY] == row.resources


def test_who_bypasses_is_held_by_the_facility_alone() -> None:
    policy = QuotaPolicy(proposal_default=Limits(machines=0), facility=Limits(machines=1))
    ledger = empty(policy)
    free = Entitlement(limits=Limits(), bypass=True)
    ledger.apply(Reserve(ONE, asking(), free))
    with pytest.raises(QuotaExceededError) as refused:
        ledger.apply(Reserve("1" * 16, asking(), free))
    assert refused.value.details["scope"] == "facility"


def test_an_override_holds_in_place_of_the_policy() -> None:
    ledger = empty()
    ledger.overrides = {(QuotaScope.PERSON, "amara"): Limits(machines=0)}
    with pytest.raises(QuotaExceededError):
        ledger.apply(Reserve(ONE, asking(), ENTITLED))
    ledger.apply(Reserve(ONE, asking(person="bruno"), ENTITLED))


def test_no_sum_passes_what_can_be_stored() -> None:
    ledger = empty(QuotaPolicy())
    most = asking(resources=Resources(memory=1 << 60))
    ledger.apply(Reserve(ONE, most, Entitlement(limits=Limits())))
    with pytest.raises(QuotaExceededError) as refused:
        ledger.apply(Reserve("1" * 16, most, Entitlement(limits=Limits())))
    assert refused.value.details["scope"] == "facility"


def test_a_session_does_not_end_before_it_began() -> None:
    ledger = empty()
    ledger.apply(Reserve(ONE, asking(), ENTITLED))
    ledger.now -= timedelta(hours=1)
    ledger.apply(Release(ONE))
    assert ledger.rows[ONE].ended_at == ledger.rows[ONE].created_at
