"""Decisions per second of the quotas service with 64 callers at once, and what was granted beyond a limit.

On SQLite and on a private PostgreSQL, in the same run: through the store, through HTTP (service,
neighbours and callers share this machine), and the peer: one bare INSERT of one row per transaction by
the same driver. A decision is the answer to a request to hold resources, granted or refused; a caller
releases what it got before it asks again, so that each decision comes with more than half a release; a
third of the requests is refused. CPU is that of the process that holds the store. Over-commit is counted
afterwards from the record of all reservations: at no moment may a person, a proposal or the facility have
held more than its limit.

Run ``python -m benchmarks.quotas`` in the root of the repository.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import aiosqlite
import asyncpg
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.measuring import cpu_seconds, report
from jupyterhub_daas.core.quota import QuotaPolicy, entitlement
from jupyterhub_daas.core.reservations import ReservationRequest
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import QuotaExceededError
from jupyterhub_daas.services.quotas.store import QuotaStore
from jupyterhub_daas.services.quotas.tables import reservations
from tests.services.quotas.neighbours import Neighbours
from tests.services.quotas.portal import SETTINGS, Quotas
from tests.support.postgres import private_postgres

CALLERS = 64
PEOPLE = [f"p{number}" for number in range(24)]
PER_PERSON, PER_PROPOSAL, IN_ALL = 2, 5, 36
POLICY = QuotaPolicy(
    default=Limits(machines=PER_PERSON),
    proposal_default=Limits(machines=PER_PROPOSAL),
    facility=Limits(machines=IN_ALL),
)
TARGET = 500
DATABASES = ("sqlite", "postgresql")
HISTORY = 100_000

Reserve = Callable[[str, ReservationRequest], Awaitable[bool]]
Release = Callable[[str], Awaitable[None]]


def request_of(chance: random.Random) -> ReservationRequest:
    """Return a request of somebody for some proposal."""
    number = chance.randrange(len(PEOPLE))
    return ReservationRequest(
        person=PEOPLE[number],
        proposal=f"2018{number % 8}",
        session="brave-curie",
        resources=Resources(machines=1, cpus=1, memory=3 << 30, storage=5 << 30),
        environment="jupyter",
        flavour="small",
        backend="local",
        hold_seconds=3600,
    )


async def measure(seconds: float, reserve: Reserve, release: Release, pid: int) -> dict[str, float]:
    """Let all callers ask for a while; `pid` is the process whose CPU counts."""
    counts: Counter[bool] = Counter()
    waits: list[float] = []
    begins, cpu = time.perf_counter(), cpu_seconds(pid)

    async def caller(number: int) -> None:
        chance = random.Random(number)
        while time.perf_counter() - begins < seconds:
            session_id = secrets.token_hex(8)
            asked = time.perf_counter()
            granted = await reserve(session_id, request_of(chance))
            waits.append(time.perf_counter() - asked)
            counts[granted] += 1
            if granted:
                await release(session_id)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    took = time.perf_counter() - begins
    waits.sort()
    return {
        "decisions_per_second": round(counts.total() / took, 1),
        "cpu_ms_per_decision": round(1000 * (cpu_seconds(pid) - cpu) / counts.total(), 3),
        "refused_share": round(counts[False] / counts.total(), 3),
        "median_ms": round(1000 * waits[len(waits) // 2], 2),
        "p99_ms": round(1000 * waits[int(len(waits) * 0.99)], 2),
    }


async def through_the_store(engine: AsyncEngine, seconds: float) -> dict[str, float]:
    """Call the store in this process."""
    store = QuotaStore(engine, POLICY)

    async def reserve(session_id: str, request: ReservationRequest) -> bool:
        try:
            await store.reserve(session_id, request, entitlement(POLICY, request.person, roles=(), groups=()))
        except QuotaExceededError:
            return False
        return True

    return await measure(seconds, reserve, store.release, os.getpid())


async def through_http(url: str, folder: Path, seconds: float) -> dict[str, float]:
    """Call the service, a process of its own, over HTTP."""
    neighbours = Neighbours()
    neighbours.people.update(PEOPLE)
    neighbours.start()
    quotas = {
        name: json.loads(POLICY.model_dump_json())[name]
        for name in ("default", "proposal_default", "facility")
    }
    service = Quotas(folder, neighbours, database_url=url, settings={**SETTINGS, "quotas": quotas})
    try:
        service.start()
        return await _ask_over_http(service, seconds)
    finally:
        service.stop()
        neighbours.close()


async def _ask_over_http(service: Quotas, seconds: float) -> dict[str, float]:
    headers = {"Authorization": "token all", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=CALLERS)
    async with aiohttp.ClientSession(
        f"{service.url}api/v1/", headers=headers, connector=connector
    ) as session:

        async def reserve(session_id: str, request: ReservationRequest) -> bool:
            body = request.model_dump_json()
            async with session.put(f"reservations/{session_id}", data=body) as answer:
                if answer.status not in (201, 409):
                    raise RuntimeError(f"status {answer.status}: {await answer.text()}")
                return answer.status == 201

        async def release(session_id: str) -> None:
            async with session.delete(f"reservations/{session_id}") as answer:
                answer.raise_for_status()

        return await measure(seconds, reserve, release, service.pid)


async def bare_sqlite(path: Path, seconds: float) -> float:
    """Insert by aiosqlite on one connection, in turns: many that wait for its lock are slower."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=NORMAL")
        await connection.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, person TEXT, machines INTEGER)")
        turn = asyncio.Lock()

        async def one() -> None:
            async with turn:
                await connection.execute("BEGIN IMMEDIATE")
                await connection.execute("INSERT INTO bare VALUES (?, 'amara', 1)", (secrets.token_hex(8),))
                await connection.execute("COMMIT")

        return await _rate(one, seconds)


async def bare_postgresql(url: str, seconds: float) -> float:
    """Insert by asyncpg, on a pool as large as the service's."""
    async with asyncpg.create_pool(url, min_size=20, max_size=20) as pool:
        await pool.execute("CREATE TABLE bare (id TEXT PRIMARY KEY, person TEXT, machines INTEGER)")

        async def one() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO bare VALUES ($1, 'amara', 1)", secrets.token_hex(8))

        return await _rate(one, seconds)


async def _rate(one: Callable[[], Awaitable[None]], seconds: float) -> float:
    done, begins = 0, time.perf_counter()

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - begins < seconds:
            await one()
            done += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return round(done / (time.perf_counter() - begins), 1)


async def over_commit(engine: AsyncEngine) -> int:
    """Count the machines that were held beyond a limit, at any moment since the beginning."""
    table = reservations.c
    query = select(table.person, table.proposal, table.created_at, table.ended_at).where(
        table.session != "old"
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    over = _most_beyond(((row.created_at, row.ended_at) for row in rows), IN_ALL)
    for column, limit in (("person", PER_PERSON), ("proposal", PER_PROPOSAL)):
        for key in {getattr(row, column) for row in rows}:
            spans = ((row.created_at, row.ended_at) for row in rows if getattr(row, column) == key)
            over += _most_beyond(spans, limit)
    return over


def _most_beyond(spans: Iterable[tuple[int, int | None]], limit: int) -> int:
    # Requests that were decided in one transaction carry one moment: there, ends come first.
    events = []
    for begins, ends in spans:
        if ends != begins:
            events += [(begins, 1), (ends if ends is not None else sys.maxsize, -1)]
    most = held = 0
    for _, change in sorted(events):
        held += change
        most = max(most, held)
    return max(0, most - limit)


async def add_history(engine: AsyncEngine) -> None:
    """Fill in what ended long ago."""
    request = request_of(random.Random(0))
    old = {
        **{
            name: getattr(request, name)
            for name in ("person", "proposal", "environment", "flavour", "backend")
        },
        **dict.fromkeys(("machines", "millicpus", "memory", "storage", "gpus"), 1),
        **{"session": "old", "instruments": "[]", "state": "released", "hold_seconds": 1},
        **{"created_at": 1, "lapses_at": 2, "activated_at": 1, "ended_at": 3},
    }
    async with engine.begin() as connection:
        for first in range(0, HISTORY, 5000):
            rows = [{**old, "session_id": f"{first + number:016x}"} for number in range(5000)]
            await connection.execute(insert(reservations), rows)


async def run_on(url: str, bare: Awaitable[float], folder: Path, seconds: float) -> dict[str, Any]:
    """Measure one database."""
    engine = create_engine(url)
    await upgrade(engine, "quotas")
    result: dict[str, Any] = {"bare_inserts_per_second": await bare}
    result["store"] = await through_the_store(engine, seconds)
    result["http"] = await through_http(url, folder, seconds)
    await add_history(engine)
    result[f"store_with_history_of_{HISTORY}"] = await through_the_store(engine, seconds)
    result["over_commit"] = await over_commit(engine)
    await engine.dispose()
    bare_rate = result["bare_inserts_per_second"]
    result["store_to_bare"] = round(result["store"]["decisions_per_second"] / bare_rate, 2)
    result["http_to_bare"] = round(result["http"]["decisions_per_second"] / bare_rate, 2)
    return result


async def run(seconds: float) -> dict[str, Any]:
    """Measure both databases."""
    results: dict[str, Any] = {"callers": CALLERS, "target_per_second": TARGET}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare = bare_sqlite(folder / "bare.sqlite", seconds)
        results["sqlite"] = await run_on(f"sqlite:///{folder}/quotas.sqlite", bare, folder, seconds)
        with private_postgres() as server:
            bare = bare_postgresql(server.create_database("bare"), seconds)
            results["postgresql"] = await run_on(server.create_database("quotas"), bare, folder, seconds)
    return results


def main() -> None:
    """Print the figures; fail if anything was granted beyond a limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    results = asyncio.run(run(parser.parse_args().seconds))
    report("quotas", "; ".join(_sentence(name, results[name]) for name in DATABASES), results)
    sys.exit(1 if any(results[name]["over_commit"] for name in DATABASES) else 0)


def _sentence(name: str, one: dict[str, Any]) -> str:
    return (
        f"{name}: {one['store']['decisions_per_second']:.0f} decisions/s through the store, "
        f"{one['http']['decisions_per_second']:.0f} over HTTP, against "
        f"{one['bare_inserts_per_second']:.0f} bare inserts/s; over-commit {one['over_commit']}"
    )


if __name__ == "__main__":
    main()
