"""Whoever asked first is first on the backend, whatever takes longer in between."""

import asyncio
from contextlib import suppress

import pytest

from jupyterhub_daas.spawners.turnstile import Turnstile
from tests.support.waiting import turn_over


class Starts:
    """Starts whose decisions end when the test says so."""

    def __init__(self, turnstile: Turnstile, count: int) -> None:
        self.turnstile = turnstile
        self.decided = [asyncio.Event() for _ in range(count)]
        self.inside: set[int] = set()
        self.left: list[int] = []
        self.tasks = [asyncio.ensure_future(self._pass(number)) for number in range(count)]

    async def _pass(self, number: int) -> None:
        async with self.turnstile.passing():
            self.inside.add(number)
            await self.decided[number].wait()
            self.inside.discard(number)
        self.left.append(number)


async def test_only_a_few_are_inside() -> None:
    starts = Starts(Turnstile(2), 4)
    await turn_over()
    assert starts.inside == {0, 1}
    starts.decided[1].set()
    await turn_over()
    assert starts.inside == {0, 2}
    for each in starts.decided:
        each.set()
    await asyncio.gather(*starts.tasks)


async def test_they_leave_in_the_order_in_which_they_came() -> None:
    starts = Starts(Turnstile(8), 5)
    for number in (4, 2, 3, 1):
        await turn_over()
        starts.decided[number].set()
    await turn_over()
    assert starts.left == []
    starts.decided[0].set()
    await asyncio.gather(*starts.tasks)
    assert starts.left == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [0, 1])
async def test_one_that_is_cancelled_changes_nothing_for_the_others(number: int) -> None:
    starts = Starts(Turnstile(8), 3)
    await turn_over()
    starts.tasks[number].cancel()
    starts.decided[2].set()
    await turn_over()
    assert starts.left == []
    starts.decided[1 - number].set()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*starts.tasks, return_exceptions=True)
    assert starts.left == [1 - number, 2]


async def test_nobody_waits_long_for_the_trouble_of_another() -> None:
    starts = Starts(Turnstile(8, patience=0.01), 2)
    starts.decided[1].set()
    await starts.tasks[1]
    assert starts.left == [1]
    starts.decided[0].set()
    await starts.tasks[0]


async def test_places_are_given_back() -> None:
    turnstile = Turnstile(1)
    for _ in range(3):
        with suppress(ValueError):
            async with turnstile.passing():
                raise ValueError
    async with turnstile.passing():
        pass
