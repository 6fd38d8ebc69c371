"""Fixtures of the authenticator's tests."""

from collections.abc import Iterator

import pytest

from tests.authenticators.portal import Portal
from tests.support.directory_services import DirectoryServices
from tests.support.identity_provider import IdentityProvider


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """An identity provider that can be made to lie."""
    running = IdentityProvider().start()
    yield running
    running.close()


@pytest.fixture
def services() -> Iterator[DirectoryServices]:
    """The services that the gate asks, at the test's will."""
    running = DirectoryServices().start()
    yield running
    running.close()


@pytest.fixture(scope="session")
def running_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A hub with stand-ins around it."""
    made = Portal(tmp_path_factory.mktemp("portal"))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def portal(running_portal: Portal) -> Portal:
    """The hub, with everybody as if nothing had happened yet."""
    running_portal.begin()
    return running_portal


@pytest.fixture(scope="session")
def running_watchful_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A hub that asks again every second."""
    made = Portal(tmp_path_factory.mktemp("watchful"), refresh_age=1)
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture
def watchful(running_watchful_portal: Portal) -> Portal:
    """A hub that asks again every second, with everybody as if nothing had happened yet."""
    running_watchful_portal.begin()
    return running_watchful_portal
