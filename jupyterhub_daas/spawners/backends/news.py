"""What a start tells, line by line, to whoever follows it and from whenever on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class StartNews:
    """The lines of one start: JupyterHub's progress events, with `progress` in per cent and a `message`."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._over = False
        self._changed = asyncio.Event()

    @property
    def last(self) -> str:
        """Return the message of the last line; empty before the first."""
        return str(self._events[-1]["message"]) if self._events else ""

    def add(self, progress: int, message: str) -> None:
        """Add a line."""
        self._events.append({"progress": progress, "message": message})
        self._wake()

    def say(self, progress: int, message: str) -> None:
        """Add a line unless it would repeat the last one."""
        if message != self.last:
            self.add(progress, message)

    def end(self) -> None:
        """Say that the start is over: whoever follows has read all."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all lines from the first one on, until the start is over."""
        told = 0
        while True:
            changed = self._changed
            for event in self._events[told:]:
                told += 1
                yield dict(event)
            if self._over:
                return
            await changed.wait()
