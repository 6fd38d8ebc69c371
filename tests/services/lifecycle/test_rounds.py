"""Rounds: in which order parts are asked, what races and failures do; nothing is done on ignorance."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from jupyterhub_daas.clients import AccountsClient, HubClient, ProposalsClient, QuotasClient
from jupyterhub_daas.core.audit import Actor, ActorKind
from jupyterhub_daas.core.reconciliation import EndReason
from jupyterhub_daas.core.settings import LifecycleSettings
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import DaasError, UpstreamAnswerError, UpstreamUnavailableError
from jupyterhub_daas.services.lifecycle.models import RecordedEnding
from jupyterhub_daas.services.lifecycle.rounds import Rounds
from jupyterhub_daas.services.lifecycle.store import LifecycleStore
from tests.support.parts import Parts, moment
from tests.support.waiting import wait_for

ONE, TWO, THREE = "0000000000000001", "0000000000000002", "0000000000000003"
SOFIA = Actor(kind=ActorKind.PERSON, name="sofia")
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Lifecycle:
    """Rounds over parts that a test changes."""

    def __init__(self, parts: Parts, store: LifecycleStore) -> None:
        self.parts, self.store = parts, store
        self.hub = HubClient(f"{parts.url}/hub/api/", "t", deadline=5)
        self.quotas = QuotasClient(f"{parts.url}/services/quotas/", "t")
        self.accounts = AccountsClient(f"{parts.url}/services/accounts/", "t")
        self.proposals = ProposalsClient(f"{parts.url}/services/proposals/", "t")
        self.rounds = self.rounds_every(600)

    def rounds_every(self, seconds: float, *, grace: float = 30, **policy: Any) -> Rounds:
        """Make rounds of another rhythm or policy."""
        return Rounds(
            hub=self.hub,
            quotas=self.quotas,
            accounts=self.accounts,
            proposals=self.proposals,
            store=self.store,
            settings=LifecycleSettings(interval_seconds=seconds, grace_seconds=grace, **policy),
        )

    async def endings(self, person: str = "amara") -> list[tuple[str, EndReason]]:
        """Return what was recorded of a person."""
        found = await self.store.list_endings(person, since=LONG_AGO)
        return [(each.session_id, each.reason) for each in found]

    async def close(self) -> None:
        """Close the clients."""
        for client in (self.hub, self.quotas, self.accounts, self.proposals):
            await client.close()


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    await made.start()
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


def counted(action: str) -> float:
    return REGISTRY.get_sample_value("daas_lifecycle_actions_total", {"action": action}) or 0.0


async def test_reads_reservations_then_the_hub_then_the_blocks(lifecycle: Lifecycle, parts: Parts) -> None:
    await lifecycle.rounds.run()
    assert parts.asked == ["quotas: GET reservations", "hub: POST reconcile", "accounts: GET blocked"]


async def test_does_all_that_is_due_and_says_so(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE, name="brave-curie")
    parts.reserve(ONE, name="brave-curie", expires_at=moment(1))
    parts.start_session(TWO, name="calm-bohr", last_activity=moment(61))
    parts.reserve(TWO, name="calm-bohr", idle_seconds=60)
    parts.start_session(THREE, name="keen-volta")
    parts.reserve(THREE, name="keen-volta", state="held", activated_at=None, idle_seconds=60)
    parts.reserve("00000000000000ff", name="wise-raman")
    parts.removed = ["00000000000000aa"]
    before = {name: counted(name) for name in ("release", "activate", "end_expired", "end_idle", "remove")}
    outcome = await lifecycle.rounds.run()
    assert outcome.released == ("00000000000000ff",)
    assert outcome.activated == (THREE,)
    assert [(each.session, each.reason) for each in outcome.ended] == [
        ("brave-curie", EndReason.EXPIRED),
        ("calm-bohr", EndReason.IDLE),
    ]
    assert outcome.removed == ("00000000000000aa",)
    assert parts.names() == ["keen-volta"]
    assert parts.causes == {
        "brave-curie": {"reason": "expired", "by": None},
        "calm-bohr": {"reason": "idle", "by": None},
    }
    assert {key: each["state"] for key, each in parts.reservations.items()} == {THREE: "active"}
    assert sorted(await lifecycle.endings()) == [(ONE, EndReason.EXPIRED), (TWO, EndReason.IDLE)]
    assert {name: counted(name) - value for name, value in before.items()} == dict.fromkeys(before, 1)
    assert lifecycle.rounds.age() < timedelta(seconds=60)


@pytest.mark.parametrize("how", ["away", "broken", "garbage", "forbidden"])
@pytest.mark.parametrize("part", ["hub", "quotas", "accounts"])
async def test_does_nothing_while_a_part_fails(
    lifecycle: Lifecycle, parts: Parts, part: str, how: str
) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))
    parts.reserve(TWO, name="calm-bohr")
    parts.start_session(THREE, name="keen-volta", person="bruno")
    parts.blocked = ["bruno"]
    parts.failing[part] = how
    with pytest.raises(DaasError) as caught:
        await lifecycle.rounds.run()
    assert part in caught.value.message or how == "forbidden"
    assert parts.names() == ["brave-curie", "keen-volta"]
    assert set(parts.reservations) == {ONE, TWO}
    assert await lifecycle.endings() == []
    assert not any("DELETE" in each or "PATCH" in each for each in parts.asked)
    parts.failing.clear()
    await lifecycle.rounds.run()
    assert (parts.names(), set(parts.reservations)) == ([], set())


async def test_spares_a_session_that_starts_while_the_parts_are_asked(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    rounds = lifecycle.rounds_every(600, grace=0)

    def start() -> None:
        parts.reserve(ONE, created_at=moment(0), activated_at=None, state="held")
        parts.start_session(ONE, started=moment(0), last_activity=moment(0))

    parts.before["POST reconcile"] = start
    outcome = await rounds.run()
    assert (outcome.released, outcome.ended) == ((), ())
    assert parts.names() == ["brave-curie"]
    assert set(parts.reservations) == {ONE}


async def test_spares_the_reservation_of_a_start_that_the_hub_does_not_show_yet(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.reserve(ONE, created_at=moment(5), activated_at=None, state="held")
    assert (await lifecycle.rounds.run()).released == ()
    assert set(parts.reservations) == {ONE}


async def test_does_not_end_a_newer_session_of_the_same_name(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))

    def restart() -> None:
        parts.reservations.clear()
        parts.reserve(TWO, created_at=moment(0))
        parts.start_session(TWO, started=moment(0))

    # The person stops it herself and starts anew, after the hub was asked.
    parts.before["GET blocked"] = restart
    assert (await lifecycle.rounds.run()).ended == ()
    assert [each["session_id"] for each in parts.sessions.values()] == [TWO]
    assert await lifecycle.endings() == []


async def test_does_not_end_what_has_ended_meanwhile(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))
    parts.before["GET blocked"] = parts.sessions.clear
    assert (await lifecycle.rounds.run()).ended == ()
    assert await lifecycle.endings() == []


async def test_does_not_end_what_has_stopped_and_waits_to_be_started_again(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))
    parts.before["GET blocked"] = lambda: parts.start_session(ONE, started=None)
    assert (await lifecycle.rounds.run()).ended == ()
    assert parts.names() == ["brave-curie"]


async def test_the_reason_is_there_before_the_session_ends(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))
    seen: list[tuple[str, EndReason]] = []

    async def look() -> None:
        seen.extend(await lifecycle.endings())

    parts.before["DELETE brave-curie"] = look
    await lifecycle.rounds.run()
    assert seen == [(ONE, EndReason.EXPIRED)]


@pytest.mark.parametrize("how", ["refuses", "away", "broken"])
async def test_a_session_that_cannot_be_ended_is_tried_again_and_keeps_no_other(
    lifecycle: Lifecycle, parts: Parts, how: str
) -> None:
    for number, name in ((ONE, "brave-curie"), (TWO, "calm-bohr")):
        parts.start_session(number, name=name)
        parts.reserve(number, name=name, expires_at=moment(1))
    if how == "refuses":
        parts.keeps.add("brave-curie")
    else:
        parts.failing["hub DELETE brave-curie"] = how
    assert [each.session_id for each in (await lifecycle.rounds.run()).ended] == [TWO]
    assert await lifecycle.endings() == [(TWO, EndReason.EXPIRED)]
    parts.keeps.clear()
    parts.failing.clear()
    assert [each.session_id for each in (await lifecycle.rounds.run()).ended] == [ONE]
    assert parts.names() == []


async def test_a_failed_release_is_tried_again(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.reserve(ONE)
    parts.reserve(TWO, name="calm-bohr")
    parts.failing[f"quotas DELETE {ONE}"] = "away"
    assert (await lifecycle.rounds.run()).released == (TWO,)
    parts.failing.clear()
    assert (await lifecycle.rounds.run()).released == (ONE,)


async def test_a_failed_activation_is_tried_again(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, state="held", activated_at=None)
    parts.failing[f"quotas PATCH {ONE}"] = "broken"
    assert (await lifecycle.rounds.run()).activated == ()
    parts.failing.clear()
    assert (await lifecycle.rounds.run()).activated == (ONE,)


async def test_a_session_whose_reservation_lapsed_gets_it_back(lifecycle: Lifecycle, parts: Parts) -> None:
    # Quotas was away from its start on, for longer than the resources are held.
    parts.start_session(ONE)
    parts.lapsed.add(ONE)
    assert (await lifecycle.rounds.run()).ended == ()
    assert parts.names() == ["brave-curie"]
    assert parts.reservations[ONE]["state"] == "active"


async def test_a_session_that_holds_nothing_is_ended(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    assert [each.reason for each in (await lifecycle.rounds.run()).ended] == [EndReason.NO_RESERVATION]
    assert parts.names() == []


async def test_a_session_that_holds_nothing_goes_on_while_quotas_can_not_say(
    lifecycle: Lifecycle, parts: Parts
) -> None:
    parts.start_session(ONE)
    parts.failing[f"quotas PATCH {ONE}"] = "away"
    assert (await lifecycle.rounds.run()).ended == ()
    assert parts.names() == ["brave-curie"]


async def test_rounds_never_overlap(lifecycle: Lifecycle, parts: Parts) -> None:
    parts.start_session(ONE)
    parts.reserve(ONE, expires_at=moment(1))
    outcomes = await asyncio.gather(*(lifecycle.rounds.run() for _ in range(5)))
    assert parts.most_at_once == 1
    assert [len(each.ended) for each in outcomes] == [1, 0, 0, 0, 0]


async def test_forgets_endings_after_a_month(lifecycle: Lifecycle) -> None:
    now = datetime.now(timezone.utc)
    for number, days in ((ONE, 29), (TWO, 31)):
        await lifecycle.store.create_ending(
            RecordedEnding(
                session_id=number,
                person="amara",
                session="brave-curie",
                reason=EndReason.IDLE,
                at=now - timedelta(days=days),
            )
        )
    await lifecycle.rounds.run()
    assert await lifecycle.endings() == [(ONE, EndReason.IDLE)]


class TestAsking:
    """The end of all sessions of a person, on request."""

    async def test_ends_hers_at_once_and_no_others(self, lifecycle: Lifecycle, parts: Parts) -> None:
        for number, name, person in ((ONE, "brave-curie", "amara"), (TWO, "calm-bohr", "bruno")):
            parts.start_session(number, name=name, person=person)
            parts.reserve(number, name=name, person=person)
        loop = asyncio.ensure_future(lifecycle.rounds.keep_running())
        try:
            await wait_for(lambda: "accounts: GET blocked" in parts.asked, 5)
            assert len(parts.names()) == 2
            # The next round by itself would be ten minutes away.
            lifecycle.rounds.ask_to_end("amara", EndReason.STAFF, by=SOFIA)
            await wait_for(lambda: parts.names() == ["calm-bohr"], 5)
        finally:
            loop.cancel()
        assert await lifecycle.endings() == [(ONE, EndReason.STAFF)]
        assert parts.causes["brave-curie"] == {"reason": "staff", "by": {"kind": "person", "name": "sofia"}}

    async def test_waits_for_one_that_is_starting(self, lifecycle: Lifecycle, parts: Parts) -> None:
        parts.start_session(ONE, state="starting", started=moment(5))
        parts.reserve(ONE, state="held", activated_at=None, created_at=moment(5))
        lifecycle.rounds.ask_to_end("amara", EndReason.STAFF, by=SOFIA)
        assert (await lifecycle.rounds.run()).ended == ()
        parts.sessions["amara", "brave-curie"]["state"] = "running"
        assert [each.reason for each in (await lifecycle.rounds.run()).ended] == [EndReason.STAFF]

    async def test_spares_what_she_starts_later(self, lifecycle: Lifecycle, parts: Parts) -> None:
        parts.start_session(ONE)
        parts.reserve(ONE)
        lifecycle.rounds.ask_to_end("amara", EndReason.STAFF, by=SOFIA)
        assert len((await lifecycle.rounds.run()).ended) == 1
        parts.start_session(TWO, started=moment(-1))
        parts.reserve(TWO)
        assert (await lifecycle.rounds.run()).ended == ()
        assert parts.names() == ["brave-curie"]

    async def test_outlives_a_part_that_is_away(self, lifecycle: Lifecycle, parts: Parts) -> None:
        parts.start_session(ONE)
        parts.reserve(ONE)
        parts.failing["quotas"] = "away"
        lifecycle.rounds.ask_to_end("amara", EndReason.STAFF, by=SOFIA)
        with pytest.raises(UpstreamUnavailableError):
            await lifecycle.rounds.run()
        parts.failing.clear()
        assert len((await lifecycle.rounds.run()).ended) == 1


class TestLoop:
    """The rounds that nobody asks for."""

    async def test_a_skipped_round_warns_once_and_the_next_is_good(
        self, lifecycle: Lifecycle, parts: Parts, caplog: pytest.LogCaptureFixture
    ) -> None:
        parts.failing["accounts"] = "away"
        parts.reserve(ONE)
        rounds = lifecycle.rounds_every(600)
        with caplog.at_level(logging.WARNING):
            loop = asyncio.ensure_future(rounds.keep_running())
            try:
                await wait_for(lambda: bool(caplog.records), 5)
                parts.failing.clear()
                # Before the first good round it is not the interval that counts.
                await wait_for(lambda: not parts.reservations, 5)
            finally:
                loop.cancel()
        warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert "accounts service does not answer" in warnings[0]

    async def test_keeps_its_interval(self, lifecycle: Lifecycle, parts: Parts) -> None:
        rounds = lifecycle.rounds_every(0.05)
        loop = asyncio.ensure_future(rounds.keep_running())
        try:
            await wait_for(lambda: parts.asked.count("hub: POST reconcile") >= 3, 5)
        finally:
            loop.cancel()

    async def test_counts_skipped_rounds_by_their_error(self, lifecycle: Lifecycle, parts: Parts) -> None:
        def skipped() -> float:
            labels = {"code": "upstream_answer"}
            return REGISTRY.get_sample_value("daas_lifecycle_rounds_skipped_total", labels) or 0.0

        before = skipped()
        parts.failing["hub"] = "garbage"
        with pytest.raises(UpstreamAnswerError):
            await lifecycle.rounds.run()
        assert skipped() == before + 1
