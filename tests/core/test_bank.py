"""The bank's rules: when how many machines are ready, which are replaced, and what it may cost."""

from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyterhub_daas.core.bank import Banked, BankRule, MachineState, Plan, Window, decide_bank, is_good

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)  # a Thursday
IMAGE, OLD_IMAGE = "sha256:new", "sha256:old"
RULE = BankRule(idle=2, most=4, per_minute=2, build_minutes=10, age_minutes=600, idle_minutes=300)


def machine(number: int, state: str = "idle", age: float = 20, image: str = IMAGE, **more: Any) -> Banked:
    """Return a machine of so many minutes."""
    made = NOW - timedelta(minutes=age)
    return Banked(
        machine_id=f"{number:016x}",
        profile="vm",
        image=image,
        state=MachineState(state),
        made_at=made,
        idle_at=None if state == "building" else made + timedelta(minutes=2),
        **more,
    )


def ids(*numbers: int) -> tuple[str, ...]:
    """Return the ids of machines."""
    return tuple(f"{number:016x}" for number in numbers)


CASES: dict[str, tuple[list[Banked], Plan]] = {
    "nothing there": ([], Plan(make=2)),
    "enough": ([machine(1), machine(2)], Plan()),
    "one is being made": ([machine(1), machine(2, "building", 1)], Plan()),
    "one was claimed": ([machine(1, "claimed"), machine(2)], Plan(make=1)),
    "one too many": ([machine(1, age=50), machine(2), machine(3)], Plan(end=ids(1))),
    "one too many, and one is not up": (
        [machine(1), machine(2), machine(3, "building", 1)],
        Plan(end=ids(3)),
    ),
    "another image": ([machine(1, image=OLD_IMAGE), machine(2)], Plan(end=ids(1), make=1)),
    "another image, being made": (
        [machine(1, "building", 2, OLD_IMAGE), machine(2)],
        Plan(end=ids(1), make=1),
    ),
    "too old": ([machine(1, age=601), machine(2)], Plan(end=ids(1), make=1)),
    "idle for too long": ([machine(1, age=303), machine(2)], Plan(end=ids(1), make=1)),
    "never came up": ([machine(1, "building", 11), machine(2)], Plan(end=ids(1), make=1)),
    "as many as may be made in a minute": (
        [machine(1, "claimed", 0.5), machine(2, "ending", 0.5)],
        Plan(),
    ),
    "no room until those that end are gone": ([machine(each, "ending") for each in range(4)], Plan()),
    "room for one": ([machine(each, "ending") for each in range(3)], Plan(make=1)),
    "claimed ones are nobody's but their session's": (
        [machine(each, "claimed", 10_000, OLD_IMAGE) for each in range(9)],
        Plan(make=2),
    ),
}


@pytest.mark.parametrize(("machines", "plan"), CASES.values(), ids=CASES.keys())
def test_keeps_what_the_rule_says(machines: list[Banked], plan: Plan) -> None:
    assert decide_bank(RULE, IMAGE, machines, NOW) == plan


@given(
    st.lists(
        st.builds(
            machine,
            st.integers(0, 10**6),
            st.sampled_from([each.value for each in MachineState]),
            st.floats(0, 1000),
            st.sampled_from([IMAGE, OLD_IMAGE]),
        ),
        max_size=12,
        unique_by=lambda each: each.machine_id,
    )
)
def test_never_costs_more_and_never_gives_what_is_not_good(machines: list[Banked]) -> None:
    plan = decide_bank(RULE, IMAGE, machines, NOW)
    states = {each.machine_id: each for each in machines}
    # What is somebody's, and what ends already, is left alone.
    assert all(states[each].state in (MachineState.BUILDING, MachineState.IDLE) for each in plan.end)
    kept = [
        each
        for each in machines
        if each.machine_id not in plan.end and each.state in (MachineState.BUILDING, MachineState.IDLE)
    ]
    assert all(is_good(each, RULE, IMAGE, NOW) for each in kept)
    assert len(kept) + plan.make <= 2
    in_bank = sum(each.state is not MachineState.CLAIMED for each in machines)
    assert plan.make == 0 or in_bank + plan.make <= RULE.most
    recent = sum(NOW - each.made_at < timedelta(minutes=1) for each in machines)
    assert plan.make == 0 or recent + plan.make <= RULE.per_minute


OFFICE = Window(idle=3, days=("mon", "tue", "wed", "thu", "fri"), begins=time(8), ends=time(18))
NIGHT = Window(idle=4, days=("thu",), begins=time(22), ends=time(6))
BEAMTIME = Window(idle=5, first=date(2026, 12, 1), last=date(2026, 12, 2))
SCHEDULED = BankRule(idle=1, windows=(OFFICE, NIGHT, BEAMTIME), timezone="Europe/Berlin")
# Moments in UTC; Berlin is an hour ahead.
MOMENTS: dict[str, tuple[datetime, int]] = {
    "in the office": (NOW, 3),
    "it opens": (datetime(2026, 11, 26, 7, 0), 3),
    "before it opens": (datetime(2026, 11, 26, 6, 59), 1),
    "it closes": (datetime(2026, 11, 26, 17, 0), 1),
    "on Saturday": (datetime(2026, 11, 28, 12, 0), 1),
    "on Thursday night": (datetime(2026, 11, 26, 21, 0), 4),
    "in its morning": (datetime(2026, 11, 27, 4, 59), 4),
    "after it": (datetime(2026, 11, 27, 5, 0), 1),
    "in the morning of another day": (datetime(2026, 11, 26, 3, 0), 1),
    "at a beamtime, at noon": (datetime(2026, 12, 1, 12, 0), 5),
    "at its last minute": (datetime(2026, 12, 2, 22, 59), 5),
    "after the beamtime": (datetime(2026, 12, 2, 23, 0), 1),
}


@pytest.mark.parametrize(("moment", "wanted"), MOMENTS.values(), ids=MOMENTS.keys())
def test_keeps_more_when_people_come(moment: datetime, wanted: int) -> None:
    assert SCHEDULED.wanted(moment.replace(tzinfo=timezone.utc)) == wanted


WRONG: dict[str, dict[str, Any]] = {
    "more than there may be": {"idle": 5, "most": 4},
    "more than there may be, at times": {"most": 4, "windows": [{"idle": 5}]},
    "no such time zone": {"timezone": "Mars/Olympus"},
    "no such day": {"windows": [{"idle": 1, "days": ["caturday"]}]},
    "no day": {"windows": [{"idle": 1, "days": []}]},
    "an end before its beginning": {"windows": [{"idle": 1, "first": "2026-12-02", "last": "2026-12-01"}]},
    "an hour with a zone": {"windows": [{"idle": 1, "begins": "08:00+01:00"}]},
    "nothing may be made": {"per_minute": 0},
    "no age": {"age_minutes": 0},
    "something else": {"ready": 3},
}


@pytest.mark.parametrize("rule", WRONG.values(), ids=WRONG.keys())
def test_refuses_a_rule_that_makes_no_sense(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BankRule.model_validate(rule)
