"""Fixtures of the authenticator's tests."""

from collections.abc import Iterator

import pytest

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
