"""Fixtures of all tests."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.spawners.portal import small_profiles
from tests.support.labs import Labs
from tests.support.stack import Stack

# How long an example takes says nothing about whether it holds: a busy machine must not fail a test. In CI a
# change is blamed for what it broke and not for what chance found; by hand the examples are new each time.
settings.register_profile("daas", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("daas")


class ByFileAndBackend(LoadFileScheduling):
    """Give each worker whole files; the suite of all backends, the longest of them, backend by backend."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        words = test.partition("[")[2].rstrip("]").split("-")
        return f"{file}::{words[0]}" if file.endswith("spawners/test_backends.py") else file


# What has real portals takes longest, test by test; a worker that began with it last would end alone. The
# labs of the spawners are not the very first, since they may have to be built meanwhile.
LONGEST = ("authenticators", "browser", "demo", "spawners", "portal")
# These wait for images that are built meanwhile: after the spawners.
PATIENT = "test_podman_images.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that take long; scripts/test keeps this order."""
    tests = config.rootpath / "tests"

    def rank(item: pytest.Item) -> float:
        if item.path.name == PATIENT:
            return LONGEST.index("spawners") + 0.5
        folder = item.path.relative_to(tests).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Say which tests stay together, where files do."""
    return ByFileAndBackend(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="module")
def labs() -> Iterator[Labs]:
    """The real backends, each brought up when a test first asks for it.

    They end with the file's tests: an idle cluster would slow the others down.
    """
    running = Labs()
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole portal that tests share: use people and sessions so that they don't disturb others."""
    running = Stack(tmp_path_factory.mktemp("stack"), settings={"profiles": small_profiles()})
    try:
        yield running.start()
    finally:
        running.stop()
