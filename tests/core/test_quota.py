"""Quota arithmetic: whose limits hold, whether a request fits, and what is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_daas.core.people import Role
from jupyterhub_daas.core.quota import (
    Bypass,
    Override,
    OverrideRequest,
    QuotaCheck,
    QuotaPolicy,
    QuotaScope,
    decide,
    entitlement,
    facility_limits,
    person_limits,
    proposal_limits,
    quota_of,
    refusal,
)
from jupyterhub_daas.core.resources import DIMENSIONS, MAX_BYTES, MAX_COUNT, Limits, Resources, format_amount
from tests.core.test_resources import amounts

G = 1 << 30
DEFAULT = Limits(machines=5, cpus=10, memory=30 * G, storage=80 * G)
IMAGE = Resources(machines=1, cpus=1, memory=3 * G, storage=5 * G)

POLICY = QuotaPolicy(
    default=DEFAULT,
    groups={"big": Limits(machines=20), "wide": Limits(cpus=64), "odd": Limits(machines=2)},
    roles={Role.STAFF: Limits(machines=10, memory=None), Role.TEACHER: Limits(machines=40)},
    people={"amara": Limits(machines=1)},
    proposal_default=Limits(machines=20, cpus=40),
    proposals={"20180301": Limits(machines=2)},
    facility=Limits(machines=100),
    bypass=Bypass(people=frozenset({"sofia"}), roles=frozenset({Role.ADMIN})),
)


def test_the_golden_example() -> None:
    """Default 5 machines, 10 cpus, 30 G, 80 G; three machines of the default image (1 cpu, 3 G, 5 G)."""
    used = Resources()
    for _ in range(3):
        used += IMAGE
    quota = quota_of(DEFAULT, used, "small")

    def written(amounts_of: Limits | Resources) -> str:
        names = ("machines", "cpus", "memory", "storage")
        return " / ".join(format_amount(name, getattr(amounts_of, name)) for name in names)

    assert written(quota.used) == "3 / 3 / 9 G / 15 G"
    assert written(quota.available) == "2 / 7 / 21 G / 65 G"
    assert quota.available.gpus is None


@pytest.mark.parametrize(
    ("username", "roles", "groups", "expected"),
    [
        pytest.param("bruno", [], [], DEFAULT, id="nothing-special"),
        pytest.param("bruno", [], ["big"], DEFAULT.merged(Limits(machines=20)), id="group"),
        pytest.param("bruno", [], ["unknown"], DEFAULT, id="group-without-rule"),
        pytest.param("bruno", [], ["odd"], DEFAULT.merged(Limits(machines=2)), id="group-may-give-less"),
        pytest.param(
            "bruno", [], ["odd", "big"], DEFAULT.merged(Limits(machines=20)), id="most-generous-group"
        ),
        pytest.param(
            "bruno", [], ["big", "wide"], DEFAULT.merged(Limits(machines=20, cpus=64)), id="groups-add-up"
        ),
        pytest.param(
            "bruno",
            [Role.STAFF],
            [],
            DEFAULT.merged(Limits(machines=10, memory=None)),
            id="role-makes-memory-unlimited",
        ),
        pytest.param(
            "bruno",
            [Role.STAFF, Role.TEACHER],
            ["big"],
            DEFAULT.merged(Limits(machines=40, memory=None)),
            id="most-generous-of-roles-and-groups",
        ),
        pytest.param(
            "amara", [Role.TEACHER], [], DEFAULT.merged(Limits(machines=1)), id="own-rule-beats-roles"
        ),
        pytest.param("sofia", [], ["odd"], Limits(), id="person-bypasses"),
        pytest.param("bruno", [Role.ADMIN], [], Limits(), id="role-bypasses"),
        pytest.param("amara", [Role.ADMIN], [], Limits(), id="bypass-beats-own-rule"),
    ],
)
def test_whose_limits_hold(username: str, roles: list[Role], groups: list[str], expected: Limits) -> None:
    limits = person_limits(POLICY, username, roles=roles, groups=groups)
    assert limits.model_dump() == expected.model_dump()


@pytest.mark.parametrize(
    ("username", "roles", "bypass"),
    [("sofia", [], True), ("bruno", [Role.ADMIN], True), ("bruno", [Role.USER], False), ("bruno", [], False)],
)
def test_who_bypasses(username: str, roles: list[Role], bypass: bool) -> None:
    assert entitlement(POLICY, username, roles=roles, groups=[]).bypass is bypass


def test_a_proposal_has_its_own_limits_or_the_default() -> None:
    assert proposal_limits(POLICY, "20190417") == POLICY.proposal_default
    assert proposal_limits(POLICY, "20180301").model_dump() == Limits(machines=2, cpus=40).model_dump()


def test_the_facility_always_has_a_cap() -> None:
    limits = facility_limits(POLICY)
    assert limits.machines == 100
    assert (limits.cpus, limits.memory, limits.gpus) == (MAX_COUNT, MAX_BYTES, MAX_COUNT)


def check(limits: Limits, used: Resources, scope: QuotaScope = QuotaScope.PERSON) -> QuotaCheck:
    return QuotaCheck(scope=scope, key="x", limits=limits, used=used)


@pytest.mark.parametrize(
    ("limits", "used", "asked", "refused"),
    [
        pytest.param(Limits(), Resources(machines=9), IMAGE, None, id="no-limit"),
        pytest.param(Limits(machines=5), Resources(machines=4), IMAGE, None, id="the-last-one-fits"),
        pytest.param(Limits(machines=5), Resources(machines=5), IMAGE, "machines", id="full"),
        pytest.param(Limits(machines=0), Resources(), IMAGE, "machines", id="nothing-allowed"),
        pytest.param(Limits(machines=2), Resources(machines=5), IMAGE, "machines", id="limit-was-lowered"),
        pytest.param(Limits(gpus=0), Resources(gpus=3), IMAGE, None, id="asks-for-none-of-it"),
        pytest.param(Limits(memory=3 * G), Resources(), IMAGE, None, id="exactly-all-of-it"),
        pytest.param(Limits(memory=3 * G - 1), Resources(), IMAGE, "memory", id="one-byte-too-many"),
        pytest.param(Limits(cpus=0.3), Resources(cpus=0.2), Resources(cpus=0.1), None, id="tenths-of-a-cpu"),
        pytest.param(Limits(cpus=1, storage=1), Resources(), IMAGE, "storage", id="a-later-dimension"),
        pytest.param(Limits(cpus=0, storage=1), Resources(), IMAGE, "cpus", id="the-first-of-two"),
    ],
)
def test_decides(limits: Limits, used: Resources, asked: Resources, refused: str | None) -> None:
    decision = decide(asked, [check(limits, used)])
    assert decision.allowed is (refused is None)
    assert decision.dimension == refused
    if refused is not None:
        assert decision.limit == limits.of(refused)
        assert decision.used == getattr(used, refused)
        assert decision.asked == getattr(asked, refused)


def test_names_the_first_scope_that_is_in_the_way() -> None:
    full = Resources(machines=1)
    checks = [
        check(Limits(machines=9), full),
        check(Limits(machines=1), full, QuotaScope.PROPOSAL),
        check(Limits(machines=1), full, QuotaScope.FACILITY),
    ]
    assert decide(IMAGE, checks).scope is QuotaScope.PROPOSAL


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (QuotaScope.PERSON, ["your quota", "5 of 5 used", "1 asked", "Stop a session"]),
        (QuotaScope.PROPOSAL, ["quota of the proposal", "Try again later"]),
        (QuotaScope.FACILITY, ["capacity of the facility", "Try again later"]),
    ],
)
def test_a_refusal_says_what_is_in_the_way_and_what_to_do(scope: QuotaScope, words: list[str]) -> None:
    error = refusal(decide(IMAGE, [check(Limits(machines=5), Resources(machines=5), scope)]))
    assert all(word in error.message for word in words)
    expected = {"dimension": "machines", "scope": scope.value, "limit": 5, "used": 5, "asked": 1}
    assert error.details == expected


limits_of_all_kinds = st.builds(
    Limits,
    machines=st.none() | st.integers(0, 50),
    cpus=st.none() | st.integers(0, 50_000).map(lambda thousandths: thousandths / 1000),
    memory=st.none() | st.integers(0, 1 << 51),
    storage=st.none() | st.integers(0, 1 << 51),
    gpus=st.none() | st.integers(0, 50),
)


@given(limits_of_all_kinds, st.lists(amounts, max_size=30))
def test_what_is_granted_never_passes_a_limit(limits: Limits, requests: list[Resources]) -> None:
    used = Resources()
    for asked in requests:
        if decide(asked, [check(limits, used)]).allowed:
            used += asked
    for name in DIMENSIONS:
        limit = limits.of(name)
        assert limit is None or getattr(used, name) <= limit


@given(limits_of_all_kinds, amounts)
def test_what_is_left_can_be_had_and_nothing_more(limits: Limits, used: Resources) -> None:
    left = quota_of(limits, used, None).available
    for name in DIMENSIONS:
        available = left.of(name)
        if available is None:
            assert limits.of(name) is None
            continue
        assert available >= 0
        if available > 0:
            assert decide(Resources.model_validate({name: available}), [check(limits, used)]).allowed
        step = 0.001 if name == "cpus" else 1
        more = Resources.model_validate({name: available + step})
        assert not decide(more, [check(limits, used)]).allowed


@pytest.mark.parametrize(
    "content",
    [
        {"limits": {}, "reason": "beamtime"},
        {"limits": {"machines": -1}, "reason": "beamtime"},
        {"limits": {"disks": 1}, "reason": "beamtime"},
        {"limits": {"machines": 1}, "reason": ""},
        {"limits": {"machines": 1}, "reason": "x" * 501},
        {"limits": {"machines": 1}, "reason": "two\nlines"},
        {"limits": {"machines": 1}, "reason": "nul\0"},
        {"limits": {"machines": 1}},
        {"limits": {"machines": 1}, "reason": "beamtime", "expires_at": "2026-01-01T00:00:00"},
        {"limits": {"machines": 1}, "reason": "beamtime", "expires_at": 5},
        {"limits": {"machines": 1}, "reason": "beamtime", "recorded_by": "me"},
    ],
)
def test_refuses_an_override_that_changes_nothing_or_says_nothing(content: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        OverrideRequest.model_validate(content)


def test_an_override_comes_back_with_what_it_names_and_nothing_else() -> None:
    override = Override(
        scope=QuotaScope.PERSON,
        key="amara",
        limits=Limits(machines=9, memory=None),
        reason="beamtime",
        recorded_by="sofia",
        recorded_at="2026-01-01T00:00:00Z",
    )
    again = Override.model_validate_json(override.model_dump_json())
    assert again.limits.model_fields_set == {"machines", "memory"}
