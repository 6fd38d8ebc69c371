"""Crashes of the service and of its database at any moment: what was promised stands, and sums stay exact."""

import asyncio
import contextlib
import random
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import text

from jupyterhub_daas.core.reservations import HOLDING
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.quotas.store import QuotaStore
from tests.services.quotas.neighbours import Neighbours
from tests.services.quotas.portal import Quotas
from tests.services.quotas.support import DEFAULT, ENTITLED, POLICY, asking, held, new_id
from tests.support.postgres import Postgres, private_postgres
from tests.support.waiting import wait_for

PEOPLE = tuple(f"p{number}" for number in range(30))


async def keep_asking(quotas: Quotas, promised: dict[str, bool], callers: int) -> None:
    """Reserve and release until the service is gone; note what it promised."""

    async def caller(session: aiohttp.ClientSession, chance: random.Random) -> None:
        while True:
            session_id = new_id()
            person = chance.choice(PEOPLE)
            body = asking(person=person, proposal=f"of-{person}", hold_seconds=3600).model_dump_json()
            url = f"{quotas.url}api/v1/reservations/{session_id}"
            async with session.put(url, data=body) as answer:
                if answer.status != 201:
                    continue
                promised[session_id] = True
            if chance.random() < 0.8:
                # From here on it may stand or not: the answer can be lost.
                del promised[session_id]
                async with session.delete(url) as answer:
                    promised[session_id] = answer.status != 204

    headers = {"Authorization": "token all", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await asyncio.gather(*(caller(session, random.Random(i)) for i in range(callers)))


async def test_what_was_promised_survives_kills(
    tmp_path: Path, neighbours: Neighbours, database_url: str
) -> None:
    neighbours.people.update(PEOPLE)
    quotas = Quotas(tmp_path, neighbours, database_url=database_url)
    promised: dict[str, bool] = {}
    for round_ in range(4):
        quotas.start()
        before = len(promised)
        asking_ = asyncio.ensure_future(keep_asking(quotas, promised, 8))
        try:
            await wait_for(lambda: len(promised) > before + 20, what="some answers came")  # noqa: B023
            # Somewhere within the next transactions.
            await asyncio.sleep(random.Random(round_).random() / 20)
        finally:
            quotas.kill()
            await asking_
    engine = create_engine(database_url)
    kept, counted = await held(engine)
    assert kept == counted
    page = await QuotaStore(engine, POLICY).reservations(
        person=None, proposal=None, states=HOLDING, offset=0, limit=None
    )
    standing = {item.session_id for item in page.items}
    assert {each for each, stands in promised.items() if stands} <= standing
    assert not standing & {each for each, stands in promised.items() if not stands}
    for person in PEOPLE:
        assert sum(item.person == person for item in page.items) <= (DEFAULT.machines or 0)
    await engine.dispose()


async def test_goes_on_when_postgresql_is_back() -> None:
    with private_postgres() as server:
        engine = create_engine(server.create_database("crash"))
        await upgrade(engine, "quotas")
        store = QuotaStore(engine, POLICY)
        first = new_id()
        await store.reserve(first, asking(), ENTITLED)
        await _away_and_back(server, store)
        again = await store.reserve(first, asking(), ENTITLED)
        assert again.created is False
        kept, counted = await held(engine)
        assert kept == counted
        assert kept.machines == 1
        await engine.dispose()


async def _away_and_back(server: Postgres, store: QuotaStore) -> None:
    server.stop()
    for _ in range(3):
        with pytest.raises(UpstreamUnavailableError) as refused:
            await store.reserve(new_id(), asking(), ENTITLED)
        assert refused.value.details == {"service": "database"}
    with pytest.raises(UpstreamUnavailableError):
        await store.quota_of_person("amara", ENTITLED)
    server.start()


async def test_says_so_when_postgresql_takes_no_more_connections(postgres: Postgres) -> None:
    url = postgres.create_database("full")
    owner = create_engine(url)
    async with owner.begin() as connection:
        await connection.execute(text("CREATE ROLE plain LOGIN"))
        await connection.execute(text('ALTER DATABASE "full" CONNECTION LIMIT 0'))
    engine = create_engine(url.replace(f"{postgres.user}@", "plain@"))
    with pytest.raises(UpstreamUnavailableError):
        await QuotaStore(engine, POLICY).reserve(new_id(), asking(), ENTITLED)
    await engine.dispose()
    await owner.dispose()
