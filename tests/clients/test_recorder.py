"""Recording never makes anybody wait, keeps the order, and loses nothing in silence."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from jupyterhub_daas.clients.recorder import FIRST_PAUSE, LONGEST_PAUSE, AuditRecorder
from jupyterhub_daas.core.audit import AuditEvent
from jupyterhub_daas.errors import InvalidInputError, NotFoundError, UpstreamUnavailableError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)


def event(number: int, kind: str = "person") -> AuditEvent:
    return AuditEvent.model_validate(
        {
            "time": NOW,
            "actor": {"kind": kind, "name": "amara"},
            "action": "login",
            "object": {"kind": "portal", "key": f"n{number}"},
        }
    )


class Service:
    """Stand where the account service is: here, away, slow, or refusing."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.fault: Callable[[], Exception] | None = None
        self.tries = 0
        self.open = asyncio.Event()
        self.open.set()
        self.closed = 0
        self.on_close: Callable[[], None] | None = None

    async def record(self, event_: AuditEvent) -> None:
        self.tries += 1
        await self.open.wait()
        if self.fault is not None:
            raise self.fault()
        self.kept.append(event_.object.key)

    async def close(self) -> None:
        self.closed += 1
        await asyncio.sleep(0)
        if self.on_close is not None:
            self.on_close, said = None, self.on_close
            said()


def away() -> Exception:
    return UpstreamUnavailableError("Away.", service="accounts")


class Clock:
    """Time that passes only when the recorder pauses; the service is back after so many pauses."""

    def __init__(self, service: Service, *, back_after: int | None = None) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.service, self.back_after = service, back_after

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if len(self.pauses) == self.back_after:
            self.service.fault = None
        await asyncio.sleep(0)


def recorder(service: Service, clock: Clock | None = None, **given: Any) -> AuditRecorder:
    used = clock or Clock(service)
    return AuditRecorder(service, clock=used, pause=used.pause, **given)


async def test_hands_on_in_order_and_closes_the_connection() -> None:
    service = Service()
    made = recorder(service)
    for number in range(5):
        made.record(event(number))
    assert service.kept == []
    await made.settle()
    assert service.kept == ["n0", "n1", "n2", "n3", "n4"]
    assert service.closed == 1
    made.record(event(5))
    await made.settle()
    assert service.kept[-1] == "n5"


async def test_an_event_that_comes_during_the_close_is_not_forgotten() -> None:
    service = Service()
    made = recorder(service)
    service.on_close = lambda: made.record(event(1))
    made.record(event(0))
    await made.settle()
    assert service.kept == ["n0", "n1"]


async def test_waits_for_a_service_that_is_away() -> None:
    service = Service()
    service.fault = away
    clock = Clock(service, back_after=9)
    made = recorder(service, clock)
    for number in range(3):
        made.record(event(number))
    await made.settle()
    assert service.kept == ["n0", "n1", "n2"]
    assert clock.pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert clock.pauses[-1] == LONGEST_PAUSE


async def test_gives_up_after_its_time_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    service.fault = away
    made = recorder(service, keep_seconds=60)
    made.record(event(7))
    with caplog.at_level(logging.ERROR):
        await made.settle()
    assert service.kept == []
    assert "Not in the audit trail (upstream_unavailable): action=login actor=amara object=n7" in caplog.text


@pytest.mark.parametrize("fault", [InvalidInputError, NotFoundError, RuntimeError])
async def test_what_is_refused_does_not_hold_up_the_rest(
    caplog: pytest.LogCaptureFixture, fault: type[Exception]
) -> None:
    service = Service()
    made = recorder(service)
    service.fault = lambda: fault("No.")
    made.record(event(0))
    await made.settle()
    service.fault = None
    made.record(event(1))
    await made.settle()
    assert (service.kept, service.tries) == (["n1"], 2)
    assert "object=n0" in caplog.text


async def test_takes_no_more_than_it_has_room_for_and_returns_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service()
    service.open.clear()
    made = recorder(service, capacity=10)
    for number in range(10):
        made.record(event(number))
    assert caplog.text == ""
    made.record(event(99))
    assert "Not in the audit trail (too many wait): action=login actor=amara object=n99" in caplog.text
    service.open.set()
    await made.settle()
    assert service.kept == [f"n{number}" for number in range(10)]


async def test_strangers_do_not_displace_what_people_do() -> None:
    service = Service()
    made = recorder(service, capacity=10)
    for number in range(50):
        made.record(event(number, kind="unknown"))
    made.record(event(99))
    await made.settle()
    assert service.kept == [*(f"n{number}" for number in range(5)), "n99"]


async def test_an_end_hands_on_what_it_can_and_names_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    service = Service()
    made = recorder(service)
    made.record(event(0))
    await made.close()
    assert (service.kept, caplog.text) == (["n0"], "")
    service.open.clear()
    made.record(event(1))
    await made.close(0.01)
    assert "Not in the audit trail (the process ends): action=login actor=amara object=n1" in caplog.text
    assert service.closed == 2


def test_never_raises_where_nothing_runs(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    try:
        service = Service()
    finally:
        loop.close()
    recorder(service).record(event(3))
    assert "object=n3" in caplog.text
