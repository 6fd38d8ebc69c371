"""Fixtures of the quotas tests: each store runs on SQLite and on PostgreSQL."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.services.quotas.store import QuotaStore
from tests.services.quotas.neighbours import Neighbours
from tests.services.quotas.portal import Quotas
from tests.services.quotas.support import POLICY, Clock
from tests.support.postgres import Postgres

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quotas.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database(f"quotas{next(_numbers)}")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on migrated tables."""
    made = create_engine(database_url)
    await upgrade(made, "quotas")
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
def neighbours() -> Iterator[Neighbours]:
    """The hub, *accounts* and *proposals* as far as *quotas* asks them."""
    server = Neighbours()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def quotas(neighbours: Neighbours, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quotas]:
    """The service as a process, shared: tests use sessions and people of their own."""
    running = Quotas(tmp_path_factory.mktemp("quotas"), neighbours)
    yield running.start()
    running.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(engine: AsyncEngine, clock: Clock) -> QuotaStore:
    return QuotaStore(engine, POLICY, clock=clock)
