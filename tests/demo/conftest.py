"""Fixtures of the demo's tests."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.running import RunningDemo

StartDemo = Callable[[str], RunningDemo]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the account of a demo can reach; pytest's own is private to who runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="daas-demo-test-"))
    folder.chmod(0o755)
    yield folder
    # Read-only data would keep an ordinary account from removing it.
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
    shutil.rmtree(folder)


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
