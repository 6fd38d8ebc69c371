"""A copy of some of the cluster's objects that keeps itself up to date, through any outage, for ever.

The copy is never emptied by an outage: what it holds may be old then, and `current` says so.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from jupyterhub_daas.errors import BackendUnavailableError, ConfigurationError
from jupyterhub_daas.spawners.backends.kubernetes.cluster import Cluster, Refused
from jupyterhub_daas.spawners.backends.patience import FIRST_DELAY, LONGEST_DELAY

log = logging.getLogger(__name__)


class Mirror:
    """List once, then follow what changes; whoever waits for news is woken by it."""

    def __init__(
        self,
        cluster: Cluster,
        method: str,
        *,
        keep: Callable[[dict[str, Any]], bool] = lambda _: True,
        **given: Any,
    ) -> None:
        self.objects: Mapping[str, dict[str, Any]] = {}
        self.current = False
        self._cluster, self._method, self._keep, self._given = cluster, method, keep, given
        self._loaded = asyncio.Event()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to follow, unless that has begun."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow_for_ever())

    async def loaded(self, seconds: float) -> None:
        """Wait until the copy was complete once; raise BackendUnavailableError if that takes longer."""
        self.begin()
        try:
            await asyncio.wait_for(self._loaded.wait(), seconds)
        except asyncio.TimeoutError:
            raise BackendUnavailableError("The cluster does not answer now.") from None

    async def news(self, seconds: float) -> None:
        """Wait until something has changed, or so many seconds."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _follow_for_ever(self) -> None:
        delay = FIRST_DELAY
        try:
            while True:
                try:
                    version = await self._load()
                    delay = FIRST_DELAY
                    while True:
                        version = await self._follow(version)
                except Refused as error:
                    # 410: the version is too old, which a new list cures.
                    if error.status != 410:
                        log.error("The cluster refuses %s: %s", self._method, error.words)
                        delay = LONGEST_DELAY
                except (BackendUnavailableError, ConfigurationError) as error:
                    if self.current:
                        log.warning("The cluster does not answer; what it has is not known until it does")
                    log.debug("Cannot follow %s: %r", self._method, error.__cause__ or error)
                except Exception:
                    # Whatever it is, sessions must not be lost from sight for it.
                    log.exception("Cannot follow %s", self._method)
                self.current = False
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
        finally:
            await self._cluster.close()

    async def _load(self) -> str:
        items, version = await self._cluster.list_all(self._method, **self._given)
        self.objects = {each["metadata"]["name"]: each for each in items if self._keep(each)}
        self.current = True
        self._loaded.set()
        self._tell()
        return version

    async def _follow(self, version: str) -> str:
        objects = dict(self.objects)
        self.objects = objects
        async for event in self._cluster.watch(self._method, version, **self._given):
            found = event["object"]
            version = found["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                objects.pop(found["metadata"]["name"], None)
            elif event["type"] in ("ADDED", "MODIFIED") and self._keep(found):
                objects[found["metadata"]["name"]] = found
            self._tell()
        return version
