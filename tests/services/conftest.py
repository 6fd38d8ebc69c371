"""What the tests of the services share: databases of both kinds, and a portal whose clocks run fast."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from traitlets.config import Config

from jupyterhub_daas.configure import configure
from jupyterhub_daas.database.engine import create_engine
from tests.spawners.portal import small_profiles
from tests.support.postgres import Postgres, private_postgres
from tests.support.stack import Stack

_NUMBERS = count(1)

# Three seconds of grace, rounds twice a second, and flavours that stand for what ends a session.
FAST = {
    "profiles": small_profiles(),
    "lifecycle": {"interval_seconds": 0.5, "grace_seconds": 3, "membership_grace_hours": 0.008},
    "lifetimes": [
        {"roles": ["instrument_scientist"], "lifetime_hours": 168},
        {"flavours": ["medium"], "lifetime_hours": 0.008},
        {"flavours": ["large"], "idle_hours": 0.0022},
        {"lifetime_hours": 72, "idle_hours": 8},
    ],
}


@pytest.fixture
def hub_config(tmp_path: Path) -> Config:
    """The configuration of a hub that is about to start, and asks for something of its database itself."""
    (tmp_path / "facility.yaml").write_text("people: {}\n")
    (tmp_path / "daas.yaml").write_text("facility: {name: Lumen}\n")
    config = Config()
    config.JupyterHub.db_kwargs = {"pool_pre_ping": True}
    configure(config, tmp_path / "daas.yaml", state=tmp_path / "state")
    return config


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the tests' own."""
    with private_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'daas.sqlite'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database(f"store_{next(_NUMBERS)}")
    made = create_engine(url)
    yield made
    await made.dispose()


@pytest.fixture(scope="session")
def fast_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A portal for tests that block people and have sessions ended."""
    running = Stack(tmp_path_factory.mktemp("fast"), settings=FAST)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def token_of(fast_stack: Stack) -> Callable[[str], str]:
    """A person's own token of the fast portal, the same one each time."""
    return cache(fast_stack.token)
