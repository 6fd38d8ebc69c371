"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.stack import Stack

# How long an example takes says nothing about whether it holds: a busy machine must not fail a test.
settings.register_profile("daas", deadline=None)
settings.load_profile("daas")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole portal that tests share: use people and sessions so that they don't disturb others."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        yield running.start()
    finally:
        running.stop()
