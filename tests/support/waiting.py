"""Wait for what happens in another process: poll a condition, with a deadline that is an error."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

Found = TypeVar("Found")
# So long between two looks at first. A long wait is looked after less often: who looks takes the processor
# from what is waited for.
STEP_SECONDS, LONGEST_STEP_SECONDS = 0.05, 1.0
# Deadlines are written for a machine that has nothing else to do. One that has is not wrong, and waiting
# longer costs time only where a test fails.
PATIENCE = 4


@overload
async def wait_for(
    condition: Callable[[], Awaitable[Found]], timeout: float = 30.0, *, what: str = ""
) -> Found: ...
@overload
async def wait_for(condition: Callable[[], Found], timeout: float = 30.0, *, what: str = "") -> Found: ...
async def wait_for(
    condition: Callable[[], Found | Awaitable[Found]], timeout: float = 30.0, *, what: str = ""
) -> Found:
    """Return the condition's first true value; fail after `timeout` seconds, and more on a busy machine."""
    began = time.monotonic()
    while True:
        result = condition()
        value = cast("Found", await result if inspect.isawaitable(result) else result)
        if value:
            return value
        if time.monotonic() > began + timeout * PATIENCE:
            raise _late(condition, timeout, what)
        await asyncio.sleep(_step(began))


async def turn_over() -> None:
    """Let everything happen that can, on this loop: for what is not to happen there is no event."""
    for _ in range(20):
        await asyncio.sleep(0)


def wait_until(condition: Callable[[], Found], timeout: float = 30.0, *, what: str = "") -> Found:
    """Do the same where no event loop runs."""
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > began + timeout * PATIENCE:
            raise _late(condition, timeout, what)
        time.sleep(_step(began))


def _step(began: float) -> float:
    return min(max(STEP_SECONDS, (time.monotonic() - began) / 20), LONGEST_STEP_SECONDS)


def _late(condition: Callable[[], object], timeout: float, what: str) -> TimeoutError:
    return TimeoutError(f"not within {timeout * PATIENCE} s: {what or inspect.getsource(condition).strip()}")
