"""To try again as long as a backend does not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jupyterhub_daas.errors import BackendUnavailableError

log = logging.getLogger("jupyterhub_daas.spawners")

Answer = TypeVar("Answer")
FIRST_DELAY, LONGEST_DELAY = 0.25, 5.0


async def patiently(action: Callable[[], Awaitable[Answer]], seconds: float) -> Answer:
    """Repeat an action while the backend does not answer, for so many seconds; then raise what it raised."""
    loop = asyncio.get_running_loop()
    deadline, delay = loop.time() + seconds, FIRST_DELAY
    while True:
        try:
            return await action()
        except BackendUnavailableError as error:
            if loop.time() + delay > deadline:
                raise
            log.warning("The backend does not answer (%s), trying again", error.__cause__ or error.details)
        await asyncio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)
