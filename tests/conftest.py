"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest

from tests.support.stack import ROOT, Stack

# These folders' tests share what is costly to start, or count what runs on the whole machine.
TOGETHER = ("demo", "portal")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests of a file, or of a folder, with one worker: they share their portals."""
    place = item.path.relative_to(ROOT / "tests")
    group = place.parts[0] if place.parts[0] in TOGETHER else str(place)
    item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole portal that tests share: use people and sessions so that they don't disturb others."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        yield running.start()
    finally:
        running.stop()
