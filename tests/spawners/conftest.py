"""Fixtures of the spawners' tests: one portal with small servers for all of them."""

import os
from collections.abc import Iterator

import pytest

from tests.spawners.portal import Portal, small_settings
from tests.support.stack import Stack

# A part of its own, see scripts/test.
collect_ignore = [] if "DAAS_TEST_OPENSTACK" in os.environ else ["test_openstack.py"]

PEOPLE = ("amara", "bruno", "edgar")


@pytest.fixture(scope="package")
def shared_portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal whose hub these tests may kill and start again."""
    stack = Stack(tmp_path_factory.mktemp("spawners"), settings=small_settings())
    try:
        yield Portal(stack.start(), PEOPLE)
    finally:
        stack.stop()


@pytest.fixture
def portal(shared_portal: Portal) -> Iterator[Portal]:
    """The portal without any session, before the test and after it."""
    shared_portal.clean()
    yield shared_portal
    shared_portal.clean()
