"""Lifetimes and idle limits by role and flavour: the first rule that fits counts."""

from datetime import datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from jupyterhub_daas.core.lifetimes import Lifetime, LifetimeRule, lifetime_for
from jupyterhub_daas.core.people import Role

RULES = (
    LifetimeRule(roles=(Role.ADMIN, Role.SUPPORT), flavours=("large",), lifetime_hours=48),
    LifetimeRule(roles=(Role.ADMIN,), lifetime_hours=168, idle_hours=24),
    LifetimeRule(flavours=("large",), lifetime_hours=12, idle_hours=2),
    LifetimeRule(lifetime_hours=72, idle_hours=0.5),
)


def hours(lifetime: float | None, idle: float | None) -> Lifetime:
    return Lifetime(
        lifetime=None if lifetime is None else timedelta(hours=lifetime),
        idle=None if idle is None else timedelta(hours=idle),
    )


@pytest.mark.parametrize(
    ("roles", "flavour", "expected"),
    [
        pytest.param({Role.USER}, "small", hours(72, 0.5), id="the rule for all"),
        pytest.param({Role.USER}, "large", hours(12, 2), id="by flavour"),
        pytest.param({Role.USER, Role.ADMIN}, "small", hours(168, 24), id="by role"),
        pytest.param({Role.USER, Role.ADMIN}, "large", hours(48, None), id="role and flavour, no idle limit"),
        pytest.param({Role.USER, Role.SUPPORT}, "small", hours(72, 0.5), id="role fits, flavour does not"),
        pytest.param(set(), "small", hours(72, 0.5), id="no role at all"),
    ],
)
def test_takes_the_first_rule_that_fits(roles: set[Role], flavour: str, expected: Lifetime) -> None:
    assert lifetime_for(RULES, roles=roles, flavour=flavour) == expected


def test_the_order_of_the_file_decides() -> None:
    assert lifetime_for(RULES[::-1], roles={Role.ADMIN}, flavour="large") == hours(72, 0.5)


def test_nothing_limits_without_a_rule() -> None:
    assert lifetime_for((), roles={Role.USER}, flavour="small") == Lifetime()
    assert lifetime_for(RULES[:1], roles={Role.USER}, flavour="large") == Lifetime()


def test_expiry_counts_from_the_start() -> None:
    start = datetime(2026, 3, 29, 0, 30, tzinfo=timezone.utc)
    assert hours(12, None).expires_at(start) == datetime(2026, 3, 29, 12, 30, tzinfo=timezone.utc)
    assert hours(None, 1).expires_at(start) is None


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), 24 * 366 + 1, "soon"])
@pytest.mark.parametrize("name", ["lifetime_hours", "idle_hours"])
def test_refuses_hours_that_are_none(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        LifetimeRule.model_validate({name: value})


@pytest.mark.parametrize(
    ("own", "longest", "expected"),
    [
        (None, None, None),
        (8, None, 8),
        (8, 4, 4),
        (4, 8, 4),
        (None, 4, 4),
    ],
)
def test_the_shorter_of_rule_and_backend_counts(
    own: int | None, longest: int | None, expected: int | None
) -> None:
    def hours(count: int | None) -> timedelta | None:
        return None if count is None else timedelta(hours=count)

    found = Lifetime(lifetime=hours(own), idle=timedelta(hours=1)).within(hours(longest))
    assert found == Lifetime(lifetime=hours(expected), idle=timedelta(hours=1))
