"""What backends can start now, known for some seconds: no page and no start waits for a backend that is slow.

A backend that does not answer is *unknown*, never full.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.catalogue import Catalogue, Flavour
from jupyterhub_daas.spawners.backends.base import Backend

log = logging.getLogger("jupyterhub_daas.spawners")

FRESH_SECONDS = 10.0
# After this long nobody is told any more what was true once.
STALE_SECONDS = 120.0
READ_SECONDS = 30.0


class Availabilities:
    """Ask one backend now and then, one question at a time."""

    def __init__(
        self,
        backend: Backend,
        flavours: tuple[Flavour, ...],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend, self._flavours, self._clock = backend, flavours, clock
        self._known: dict[str, Availability] = {}
        self._at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def known(self) -> Mapping[str, Availability]:
        """Return what is known by flavour, without asking anybody; nothing if it is too old."""
        return self._known if self._clock() - self._at < STALE_SECONDS else {}

    async def read(self, *, within: float) -> Mapping[str, Availability]:
        """Return what is known; ask the backend if that is old, and wait for it `within` seconds at most."""
        if self._clock() - self._at >= FRESH_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.ensure_future(self._read())
            await asyncio.wait([self._reading], timeout=within)
        return self.known()

    def took(self, flavour: str) -> None:
        """Count a session that has begun since the backend was asked."""
        known = self._known.get(flavour)
        if known is not None and known.free:
            self._known = {**self._known, flavour: known.model_copy(update={"free": known.free - 1})}

    async def _read(self) -> None:
        try:
            answer = await asyncio.wait_for(self._backend.resources(self._flavours), READ_SECONDS)
        except Exception as error:
            # Whatever is wrong with it: what is free there is not known.
            log.warning("Backend %s does not say what is free: %s", self._backend.key, error)
            self._at = max(self._at, self._clock() - FRESH_SECONDS / 2 if self._known else self._clock())
            return
        self._known = {each.flavour: each for each in answer}
        self._at = self._clock()


def flavours_on(catalogue: Catalogue, backend: str) -> tuple[Flavour, ...]:
    """Return the flavours that profiles offer on a backend."""
    profiles = [profile for profile in catalogue.profiles.values() if profile.backend == backend]
    keys = {key for profile in profiles for key in profile.flavours}
    return tuple(flavour for key, flavour in catalogue.flavours.items() if key in keys)
