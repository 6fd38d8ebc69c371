"""Fixtures of the spawners' tests: one portal with small servers for all of them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.spawners.portal import Portal, small_settings
from tests.support.fake_openstack import FakeOpenStack
from tests.support.stack import Stack

# A part of its own, see scripts/test.
CLOUD = [f"test_openstack{each}.py" for each in ("", "_access", "_claim")]
collect_ignore = [] if "DAAS_TEST_OPENSTACK" in os.environ else CLOUD

PEOPLE = ("amara", "bruno", "edgar")


@pytest.fixture
def fake() -> Iterator[FakeOpenStack]:
    """A cloud that does what a test says."""
    found = FakeOpenStack().start()
    yield found
    found.close()


@pytest.fixture
def cloud_options(fake: FakeOpenStack, tmp_path: Path) -> dict[str, Any]:
    """Options with which a backend uses that cloud."""
    return {
        "cloud": "lab",
        "clouds_file": str(fake.write_clouds(tmp_path)),
        "hub_url": "https://portal.example/hub/",
        "network": "daas",
        "interval_seconds": 0.5,
        "request_seconds": 5,
    }


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
