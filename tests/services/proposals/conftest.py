"""Fixtures: the service on SQLite and on PostgreSQL, and tokens for its callers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.proposals.service import ACCESS, FACILITY, PEOPLE, PROPOSALS, ProposalsProcess, StandInHub
from tests.support.postgres import Postgres


@pytest.fixture(scope="package")
def hub() -> Iterator[StandInHub]:
    """A hub that knows four people, a service with all scopes and one without."""
    hub = StandInHub()
    hub.start()
    for person in ("amara", "bruno", "chiara", "dora", "zed"):
        hub.knows(person, person, ACCESS)
    hub.knows("staff", "sofia", ACCESS, PEOPLE, PROPOSALS)
    hub.knows("daas-hub", "daas-hub", ACCESS, PEOPLE, PROPOSALS, kind="service")
    # A service may have the name of a person.
    hub.knows("plain-service", "amara", ACCESS, kind="service")
    hub.knows("elsewhere", "amara", "access:services!service=quotas")
    yield hub
    hub.close()


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, hub: StandInHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProposalsProcess]:
    """The service with the tests' facility, which stays as it is."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield from _running(folder, hub, None)
        return
    server: Postgres = request.getfixturevalue("postgres")
    yield from _running(folder, hub, server.create_database(folder.name))


@pytest.fixture
def own_service(hub: StandInHub, tmp_path: Path) -> Iterator[ProposalsProcess]:
    """A service whose facility the test changes."""
    yield from _running(tmp_path, hub, None)


def _running(folder: Path, hub: StandInHub, database_url: str | None) -> Iterator[ProposalsProcess]:
    process = ProposalsProcess(folder, hub, database_url=database_url)
    process.write(FACILITY)
    try:
        yield process.start()
    finally:
        process.stop()
