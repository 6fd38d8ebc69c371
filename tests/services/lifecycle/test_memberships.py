"""Who is on a proposal no longer: what that does to her sessions there, and to no others."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from jupyterhub_daas.core.reconciliation import EndReason
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.services.lifecycle.rounds import utc_now
from jupyterhub_daas.services.lifecycle.store import LifecycleStore
from tests.services.lifecycle.test_rounds import ONE, THREE, TWO, Lifecycle
from tests.support.parts import Parts


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    await made.start()
    # Two of amara's on two proposals, one of bruno's on the first.
    for number, person, name, proposal in (
        (ONE, "amara", "brave-curie", "20180301"),
        (TWO, "amara", "calm-bohr", "20190417"),
        (THREE, "bruno", "keen-volta", "20180301"),
    ):
        made.start_session(number, person=person, name=name)
        made.reserve(number, person=person, name=name, proposal=proposal)
    yield made
    await made.stop()


@pytest.fixture
async def lifecycle(parts: Parts, tmp_path: Path) -> AsyncIterator[Lifecycle]:
    engine = create_engine(f"sqlite:///{tmp_path / 'lifecycle.sqlite'}")
    await upgrade(engine, "lifecycle")
    made = Lifecycle(parts, LifecycleStore(engine))
    yield made
    await made.close()
    await engine.dispose()


async def test_asks_once_and_only_for_what_runs(lifecycle: Lifecycle, parts: Parts) -> None:
    young = {"created_at": utc_now().isoformat(), "activated_at": None}
    parts.reserve("00000000000000ff", name="wise-raman", person="chiara", **young)
    await lifecycle.rounds.run()
    assert parts.asked[-1] == "proposals: POST memberships"
    assert parts.asked.count("proposals: POST memberships") == 1
    assert parts.warned == []


async def test_ends_at_once_if_the_settings_say_so(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.off.add(("amara", "20180301"))
    rounds = lifecycle.rounds_every(600, when_membership_is_lost="end")
    outcome = await rounds.run()
    assert [(each.session, each.reason) for each in outcome.ended] == [("brave-curie", EndReason.MEMBERSHIP)]
    assert parts.names() == ["calm-bohr", "keen-volta"]
    assert await lifecycle.endings() == [(ONE, EndReason.MEMBERSHIP)]


async def test_warns_and_ends_after_the_grace_also_across_a_restart(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.off.add(("amara", "20180301"))
    rounds = lifecycle.rounds_every(600, membership_grace_hours=2)
    began = utc_now()
    assert (await rounds.run()).ended == ()
    [warning] = parts.warned
    assert (warning["session_id"], warning["reason"]) == (ONE, "membership")
    told = rounds.warning(ONE)
    assert told is not None
    assert told.ends_at is not None
    assert timedelta(0) <= told.ends_at - began - timedelta(hours=2) < timedelta(seconds=60)
    # A lifecycle that begins anew counts from the same moment.
    again = lifecycle.rounds_every(600, membership_grace_hours=2)
    await again.run()
    assert again.warning(ONE) == told
    late = lifecycle.rounds_every(600, membership_grace_hours=0)
    assert [each.session for each in (await late.run()).ended] == ["brave-curie"]


async def test_a_membership_that_comes_back_takes_the_warning_away(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.off.add(("amara", "20180301"))
    await lifecycle.rounds.run()
    assert len(parts.warned) == 1
    first = lifecycle.rounds.warning(ONE)
    parts.off.clear()
    await lifecycle.rounds.run()
    assert parts.warned == []
    assert lifecycle.rounds.warning(ONE) is None
    # Lost anew, the grace begins anew.
    parts.off.add(("amara", "20180301"))
    await lifecycle.rounds.run()
    second = lifecycle.rounds.warning(ONE)
    assert first is not None
    assert second is not None
    assert first.ends_at is not None
    assert second.ends_at is not None
    assert second.ends_at > first.ends_at


async def test_keeps_what_runs_if_the_settings_say_so(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.off.add(("amara", "20180301"))
    rounds = lifecycle.rounds_every(600, when_membership_is_lost="keep")
    assert (await rounds.run()).ended == ()
    assert [(each["session_id"], each["ends_at"]) for each in parts.warned] == [(ONE, None)]


@pytest.mark.parametrize("how", ["away", "broken", "garbage", "forbidden"])
async def test_ends_nothing_for_it_while_nobody_tells_but_goes_on_otherwise(
    lifecycle: Lifecycle, parts: Parts, how: str
) -> None:
    parts.off.add(("amara", "20180301"))
    rounds = lifecycle.rounds_every(600, membership_grace_hours=1)
    await rounds.run()
    warned = parts.warned
    parts.failing["proposals"] = how
    parts.blocked = ["bruno"]
    ending = lifecycle.rounds_every(600, when_membership_is_lost="end")
    assert [each.reason for each in (await ending.run()).ended] == [EndReason.BLOCKED]
    # The warning stays: nobody has said that she is on the proposal again.
    assert parts.warned == warned
    parts.failing.clear()
    assert [each.reason for each in (await ending.run()).ended] == [EndReason.MEMBERSHIP]


async def test_a_hub_that_does_not_show_warnings_holds_nothing_up(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.off.add(("amara", "20180301"))
    parts.failing["hub POST warnings"] = "broken"
    await lifecycle.rounds.run()
    parts.failing.clear()
    await lifecycle.rounds.run()
    assert [each["session_id"] for each in parts.warned] == [ONE]


async def test_warns_of_an_end_also_while_nobody_tells_who_lost_a_proposal(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.off.add(("amara", "20180301"))
    rounds = lifecycle.rounds_every(600, membership_grace_hours=1)
    await rounds.run()
    parts.failing["proposals"] = "away"
    parts.reservations[TWO]["expires_at"] = (utc_now() + timedelta(minutes=5)).isoformat()
    await rounds.run()
    said = {each["session_id"]: each["reason"] for each in parts.warned}
    assert said == {ONE: "membership", TWO: "expired"}
