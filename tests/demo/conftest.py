"""Fixtures of the demo's tests."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.running import RunningDemo

StartDemo = Callable[[str], RunningDemo]


def _place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="daas-demo-test-"))
    folder.chmod(0o755)
    yield folder
    # Read-only data would keep an ordinary account from removing it.
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the account of a demo can reach; pytest's own is private to who runs the tests."""
    yield from _place()


@pytest.fixture(scope="module")
def shared_place() -> Iterator[Path]:
    """The same for all tests of a module."""
    yield from _place()


@pytest.fixture
def start_demo(place: Path) -> Iterator[StartDemo]:
    """Start a demo with a folder of this name; all end with the test."""
    started: list[RunningDemo] = []

    def start(name: str) -> RunningDemo:
        started.append(RunningDemo(place / name))
        return started[-1]

    yield start
    for demo in started:
        demo.end()


@pytest.fixture(scope="module")
def two_demos(shared_place: Path) -> Iterator[tuple[RunningDemo, RunningDemo]]:
    """Two demos side by side, of different folders and ports."""
    demos = RunningDemo(shared_place / "first"), RunningDemo(shared_place / "second")
    try:
        for demo in demos:
            demo.wait_until_up()
        yield demos
    finally:
        for demo in demos:
            demo.end()
