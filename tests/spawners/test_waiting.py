"""The line before a backend: who is let through, what is told, and that no backend is waited for long."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Flavour
from jupyterhub_daas.core.resources import Limits
from jupyterhub_daas.errors import NoCapacityError
from jupyterhub_daas.spawners.availability import FRESH_SECONDS, STALE_SECONDS, Availabilities
from jupyterhub_daas.spawners.waiting import LineOptions, WaitingLine

SMALL = Flavour(key="small", title="Small", cpus=1.0, memory=1 << 30)
GPU = Flavour(key="gpu", title="GPU", cpus=1.0, memory=1 << 30, gpus=1)


class Counting:
    """A backend that says what a test tells it to, or nothing for long."""

    key = "counting"

    def __init__(self, *answer: Availability) -> None:
        self.answer, self.asked = answer, 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def resources(self, flavours: Sequence[Flavour]) -> tuple[Availability, ...]:
        self.asked += 1
        await self.answers.wait()
        return self.answer


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Start:
    """A start of one person, as its front spawner would ask for it."""

    def __init__(self, number: int, flavour: Flavour = SMALL, person: str = "amara") -> None:
        self.id = f"{number:016x}"
        self.record = SimpleNamespace(session_id=self.id, running=True)
        self.pending: str | None = "spawn"
        self.launch: Any = SimpleNamespace(
            session_id=self.id, person=SimpleNamespace(username=person), proposal="p", flavour=flavour
        )
        self.told: list[str] = []

    async def enter(self, line: WaitingLine) -> asyncio.Event | None:
        """Ask to be let through."""
        return await line.enter(self, self.launch, self.told.append)


def line_before(backend: Any = None, own_queue: bool = False, **options: Any) -> WaitingLine:
    """Return a line with these options before a backend."""
    backend = backend or Counting()
    return WaitingLine(LineOptions(**options), Availabilities(backend, (SMALL, GPU)), own_queue=own_queue)


async def test_lets_everybody_through_where_nothing_is_bounded() -> None:
    line = line_before()
    assert [await Start(number).enter(line) for number in range(20)] == [None] * 20


async def test_tells_where_a_start_stands_and_lets_it_through() -> None:
    line = line_before(capacity=Limits(machines=1))
    first, second, third = (Start(number, person=f"p{number}") for number in range(3))
    assert await first.enter(line) is None
    turns = [await each.enter(line) for each in (second, third)]
    assert second.told == ["Waiting for a free place: you are next"]
    assert third.told == ["Waiting for a free place: 1 before you"]
    line.leave(first.id)
    assert [turn.is_set() for turn in turns if turn] == [True, False]
    assert third.told[-1] == "Waiting for a free place: you are next"
    line.leave(second.id)
    assert turns[1] is not None
    assert turns[1].is_set()


async def test_names_what_there_is_none_of() -> None:
    line = line_before(capacity=Limits(gpus=1, machines=9))
    assert await Start(1, GPU).enter(line) is None
    waiting = Start(2, GPU)
    assert await waiting.enter(line) is not None
    assert waiting.told == ["Waiting for a free GPU: you are next"]
    # Whoever needs no GPU passes.
    assert await Start(3).enter(line) is None


async def test_starts_only_so_many_at_once() -> None:
    line = line_before(max_starting=1)
    first, second = Start(1), Start(2)
    assert await first.enter(line) is None
    turn = await second.enter(line)
    assert second.told == ["Waiting for the starts before yours: you are next"]
    first.pending = None
    line.advance()
    assert turn is not None
    assert turn.is_set()


async def test_a_session_of_an_earlier_hub_counts() -> None:
    line = line_before(capacity=Limits(machines=1))
    running = Start(1)
    line.hold(running, running.id, SMALL.resources)
    turn = await Start(2).enter(line)
    assert turn is not None
    # It ended and nobody told us.
    running.record.running = False
    line.advance()
    assert turn.is_set()


async def test_what_can_never_fit_is_refused_with_the_reason() -> None:
    with pytest.raises(NoCapacityError, match="more gpus than there are"):
        await Start(1, GPU).enter(line_before(capacity=Limits(gpus=0)))
    backend = Counting(Availability(flavour="gpu", fits=False, reason="No node has a GPU."))
    with pytest.raises(NoCapacityError, match=r"No node has a GPU\. Please choose"):
        await Start(1, GPU).enter(line_before(backend))


async def test_waits_as_long_as_the_backend_says_that_none_is_free() -> None:
    backend, clock = Counting(Availability(flavour="small", free=1)), Clock()
    line = WaitingLine(LineOptions(), Availabilities(backend, (SMALL,), clock=clock))
    assert await Start(1).enter(line) is None
    # The one that was free is taken, before the backend is asked again.
    turn = await Start(2).enter(line)
    assert turn is not None
    assert backend.asked == 1
    backend.answer = (Availability(flavour="small", free=3),)
    clock.now += FRESH_SECONDS
    await line.free.read(within=1)
    line.advance()
    assert turn.is_set()


async def test_a_backend_with_its_own_queue_is_not_asked() -> None:
    backend = Counting(Availability(flavour="small", free=0))
    assert await Start(1).enter(line_before(backend, own_queue=True)) is None
    assert backend.asked == 0


async def test_a_backend_that_does_not_answer_is_unknown_and_keeps_nobody_waiting() -> None:
    backend = Counting(Availability(flavour="small", free=2))
    backend.answers.clear()
    free = Availabilities(backend, (SMALL,))  # type: ignore[arg-type]
    assert await free.read(within=0.01) == {}
    assert await free.read(within=0.01) == {}
    assert backend.asked == 1
    backend.answers.set()
    assert (await free.read(within=5))["small"].free == 2


async def test_what_was_true_long_ago_is_unknown() -> None:
    backend, clock = Counting(Availability(flavour="small", free=2)), Clock()
    free = Availabilities(backend, (SMALL,), clock=clock)  # type: ignore[arg-type]
    await free.read(within=5)
    backend.answers.clear()
    clock.now += STALE_SECONDS - 1
    assert (await free.read(within=0.01))["small"].free == 2
    clock.now += 2
    assert free.known() == {}


async def test_what_a_backend_says_is_bounded_by_the_capacity() -> None:
    backend = Counting(Availability(flavour="small", free=9))
    line = line_before(backend, capacity=Limits(machines=4))
    await line.free.read(within=5)
    assert line.availability("small", SMALL.resources).free == 4


async def test_twenty_at_once_are_all_served_in_order() -> None:
    line = line_before(capacity=Limits(machines=3))
    starts = [Start(number, person=f"p{number}") for number in range(20)]
    turns = [await each.enter(line) for each in starts]
    served = [0, 1, 2]
    for number in range(17):
        line.leave(starts[served[number]].id)
        fresh = [n for n, turn in enumerate(turns) if turn and turn.is_set() and n not in served]
        assert len(fresh) == 1
        served += fresh
    assert served == list(range(20))
