"""A few at a time, and out in the order in which they came: who asked first is first on the backend."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 8
# Nobody waits longer than this for the trouble of another.
PATIENCE_SECONDS = 5.0


class Turnstile:
    """Let `width` in at once; whoever has passed leaves after all who came before, or after a few seconds."""

    def __init__(self, width: int = AT_ONCE, patience: float = PATIENCE_SECONDS) -> None:
        self._places, self._patience = asyncio.Semaphore(width), patience
        self._last: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Come in, and leave in order; who fails or gives up leaves at once."""
        before, mine = self._last, asyncio.get_running_loop().create_future()
        self._last = mine
        try:
            async with self._places:
                yield
            if before is not None and not before.done():
                await asyncio.wait({before}, timeout=self._patience)
        finally:
            # The next one follows those before this one, not this one's failure.
            if before is None or before.done():
                _leave(mine)
            else:
                before.add_done_callback(lambda _before: _leave(mine))


def _leave(place: "asyncio.Future[None]") -> None:
    if not place.done():
        place.set_result(None)
