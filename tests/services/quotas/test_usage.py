"""Accounting: sums over an interval, against the same sums counted by hand."""

import csv
import io
import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.resources import Resources
from jupyterhub_daas.services.quotas.store import QuotaStore
from jupyterhub_daas.services.quotas.tables import micros, reservations
from jupyterhub_daas.services.quotas.usage import Usage, UsageBy, UsageReport, as_csv
from tests.services.quotas.support import ENTITLED, POLICY, Clock, G, asking, entitled, new_id

DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


async def usage(store: QuotaStore, by: UsageBy, begins: datetime, ends: datetime) -> dict[str, Usage]:
    report = await store.usage(begins=begins, ends=ends, by=by)
    return {item.key: item for item in report.items}


async def test_a_session_counts_from_when_it_was_held_until_it_ended(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    size = Resources(machines=1, cpus=2.5, memory=3 * G, gpus=1)
    await store.reserve(session_id, asking(resources=size), ENTITLED)
    clock.go_on(minutes=1)
    await store.activate(session_id, entitled)
    clock.go_on(minutes=59)
    await store.release(session_id)
    clock.go_on(days=1)
    found = await usage(store, UsageBy.PERSON, DAY, DAY + 24 * HOUR)
    assert found == {
        "amara": Usage(
            key="amara",
            sessions=1,
            machine_seconds=3600,
            cpu_seconds=9000,
            memory_byte_seconds=3600 * 3 * G,
            gpu_seconds=3600,
        )
    }


@pytest.mark.parametrize(
    ("begins", "ends", "seconds"),
    [
        pytest.param(11, 14, 3600, id="around"),
        pytest.param(12, 13, 3600, id="exactly"),
        pytest.param(12.25, 12.5, 900, id="within"),
        pytest.param(11, 12.5, 1800, id="begins-before"),
        pytest.param(12.5, 14, 1800, id="ends-after"),
        pytest.param(10, 12, None, id="before"),
        pytest.param(13, 14, None, id="after"),
    ],
)
async def test_clips_to_the_interval(
    store: QuotaStore, clock: Clock, begins: float, ends: float, seconds: int | None
) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(), ENTITLED)
    await store.activate(session_id, entitled)
    clock.go_on(hours=1)
    await store.release(session_id)
    clock.go_on(days=1)
    found = await usage(store, UsageBy.PROPOSAL, DAY + begins * HOUR, DAY + ends * HOUR)
    assert {key: item.machine_seconds for key, item in found.items()} == (
        {} if seconds is None else {"20180301": seconds}
    )


async def test_what_still_holds_counts_up_to_now(store: QuotaStore, clock: Clock) -> None:
    session_id = new_id()
    await store.reserve(session_id, asking(), ENTITLED)
    await store.activate(session_id, entitled)
    clock.go_on(minutes=10)
    found = await usage(store, UsageBy.PERSON, DAY, DAY + 240 * HOUR)
    assert found["amara"].machine_seconds == 600


async def test_what_lapsed_counts_as_held_and_not_as_a_session(store: QuotaStore, clock: Clock) -> None:
    await store.reserve(new_id(), asking(hold_seconds=60), ENTITLED)
    clock.go_on(hours=1)
    before = await usage(store, UsageBy.PERSON, DAY, DAY + 24 * HOUR)
    await store.lapse()
    after = await usage(store, UsageBy.PERSON, DAY, DAY + 24 * HOUR)
    assert before == after
    assert (after["amara"].sessions, after["amara"].machine_seconds) == (0, 60)


async def test_a_proposal_at_two_instruments_counts_at_each(store: QuotaStore, clock: Clock) -> None:
    for instruments in (("id21", "id16"), ("id21",), ()):
        await store.reserve(new_id(), asking(instruments=instruments), ENTITLED)
    clock.go_on(seconds=100)
    found = await usage(store, UsageBy.INSTRUMENT, DAY, DAY + 24 * HOUR)
    assert {key: item.machine_seconds for key, item in found.items()} == {"": 100, "id16": 100, "id21": 200}


@pytest.mark.parametrize("by", list(UsageBy))
async def test_sums_are_those_of_counting_by_hand(engine: AsyncEngine, clock: Clock, by: UsageBy) -> None:
    chance = random.Random(7)
    rows = [_row(chance, number) for number in range(300)]
    async with engine.begin() as connection:
        await connection.execute(insert(reservations), rows)
    begins, ends = DAY + 3 * HOUR, DAY + 9 * HOUR
    found = await usage(QuotaStore(engine, POLICY, clock=clock), by, begins, ends)
    expected = _by_hand(rows, by, micros(begins), micros(ends))
    assert found.keys() == expected.keys()
    for key, sums in expected.items():
        item = found[key].model_dump(exclude={"key"})
        assert item == pytest.approx(sums, rel=1e-9, abs=0.001)


def _row(chance: random.Random, number: int) -> dict[str, Any]:
    created = micros(DAY) + chance.randrange(12 * 3600 * 1_000_000)
    lasted = chance.randrange(4 * 3600 * 1_000_000)
    return {
        "session_id": f"{number:016x}",
        "person": chance.choice(["amara", "bruno", "chiara"]),
        "proposal": chance.choice(["20180301", "20190417"]),
        "session": "brave-curie",
        "environment": chance.choice(["jupyter", "desktop"]),
        "flavour": "small",
        "backend": "local",
        "instruments": json.dumps(chance.choice([[], ["id21"], ["id21", "id16"]])),
        "machines": 1,
        "millicpus": chance.randrange(10_000),
        "memory": chance.randrange(1 << 40),
        "storage": 0,
        "gpus": chance.randrange(3),
        "hold_seconds": 60,
        "state": "released",
        "created_at": created,
        "lapses_at": created + 60_000_000,
        "activated_at": chance.choice([None, created]),
        "ended_at": created + lasted,
    }


def _by_hand(rows: list[dict[str, Any]], by: UsageBy, begins: int, ends: int) -> dict[str, dict[str, float]]:
    sums: dict[str, dict[str, float]] = {}
    for row in rows:
        seconds = (min(row["ended_at"], ends) - max(row["created_at"], begins)) / 1e6
        if seconds <= 0:
            continue
        keys = json.loads(row["instruments"]) or [""] if by is UsageBy.INSTRUMENT else [row[by.value]]
        for key in keys:
            names = ("sessions", "machine_seconds", "cpu_seconds", "memory_byte_seconds", "gpu_seconds")
            known = sums.setdefault(key, dict.fromkeys(names, 0.0))
            known["sessions"] += row["activated_at"] is not None
            known["machine_seconds"] += seconds
            known["cpu_seconds"] += seconds * row["millicpus"] / 1000
            known["memory_byte_seconds"] += seconds * row["memory"]
            known["gpu_seconds"] += seconds * row["gpus"]
    return sums


@pytest.mark.parametrize("key", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|" /C calc"!A1'])
def test_no_cell_is_a_formula(key: str) -> None:
    item = Usage(key=key, sessions=1, machine_seconds=1, cpu_seconds=1, memory_byte_seconds=1, gpu_seconds=1)
    report = UsageReport(begins=DAY, ends=DAY, by=UsageBy.PERSON, items=(item,), total=1)
    rows = list(csv.reader(io.StringIO(as_csv(report))))
    assert rows[0][:2] == ["person", "sessions"]
    assert rows[1][0] == f"'{key}"
