"""A service that is told to end while it comes up."""

import signal
from pathlib import Path

import pytest

from tests.support.lone_service import LoneService
from tests.support.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupted", "terminated"])
@pytest.mark.parametrize("deaf", [False, True], ids=["at once", "although a driver swallows it"])
def test_ends_before_it_is_up(tmp_path: Path, number: int, deaf: bool) -> None:
    if deaf:
        (tmp_path / "deaf").touch()
    service = LoneService("accounts", tmp_path, module="tests.services.slow_probe").launch()
    wait_until((tmp_path / "coming-up").exists, 60)
    assert service.end(number) == 0
    assert "Traceback" not in service.log()
