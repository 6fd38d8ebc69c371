"""The line before a backend: a start that finds no room waits for its turn, and sees how many are before it.

All of it lives in the hub's process, which alone starts sessions. A start that waits has begun nothing on the
backend; cancelling it takes it out of the line, and leaves nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.launch import Launch
from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.queue import Line, Waiter, lacking, next_to_start, sessions_that_fit
from jupyterhub_daas.core.resources import Limits, Resources
from jupyterhub_daas.errors import NoCapacityError
from jupyterhub_daas.spawners.availability import Availabilities

# How often a line looks again whether something is free; ends and stops are noticed at once.
LOOK_SECONDS = 2.0
FIRST_ANSWER_SECONDS = 2.0
STARTING = "starting"
MISSING = {"gpus": "a free GPU", "memory": "free memory", "cpus": "free CPUs", "storage": "free storage"}


class LineOptions(Model):
    """What one backend takes of this hub: `capacity` in all, and `max_starting` starts at once."""

    capacity: Limits = Limits()
    max_starting: int | None = Field(default=None, ge=1, le=10_000)


@dataclass
class _Place:
    """A start that waits, and how its person is told."""

    waiter: Waiter
    tell: Callable[[str], None]
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    told: str = ""


class WaitingLine:
    """Let starts through to one backend, in a fair order, as long as there is room."""

    def __init__(self, options: LineOptions, free: Availabilities, *, own_queue: bool = False) -> None:
        self.options, self.free = options, free
        self._own_queue = own_queue
        self._line = Line()
        self._places: dict[str, _Place] = {}
        # The front spawners that are past the line, by session id.
        self._holders: dict[str, tuple[Any, Resources]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def enter(self, spawner: Any, launch: Launch, tell: Callable[[str], None]) -> asyncio.Event | None:
        """Let a start through and return None, or give it a place and return what is set when its turn comes.

        Raise NoCapacityError if it can never fit. The caller gives the place back with `leave`.
        """
        flavour = launch.flavour
        if not self._own_queue:
            await self.free.read(within=FIRST_ANSWER_SECONDS)
        _refuse_what_never_fits(self.availability(flavour.key, flavour.resources))
        waiter = Waiter(
            launch.session_id, launch.person.username, launch.proposal, flavour.key, flavour.resources
        )
        place = _Place(waiter, tell)
        self._line.join(waiter)
        self._places[waiter.session_id] = place
        self._holders[waiter.session_id] = (spawner, flavour.resources)
        self.advance()
        if place.turn.is_set():
            return None
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._keep_looking())
        return place.turn

    def leave(self, session_id: str) -> None:
        """Forget a start or a session that is over, and let the next ones through."""
        self._places.pop(session_id, None)
        self._line.leave(session_id)
        if self._holders.pop(session_id, None) is not None:
            self.advance()

    def hold(self, spawner: Any, session_id: str, resources: Resources) -> None:
        """Count a session that an earlier hub process let through."""
        self._holders[session_id] = (spawner, resources)

    def availability(self, flavour: str, resources: Resources) -> Availability:
        """Return what is free of a flavour: what the backend says, within the capacity."""
        capacity = self.options.capacity
        if never := lacking(resources, Resources(), capacity):
            what = ", ".join(sorted(never))
            return Availability(
                flavour=flavour, fits=False, free=0, reason=f"This size has more {what} than there are."
            )
        known = self.free.known().get(flavour) or Availability(flavour=flavour)
        counts = [
            count
            for count in (known.free, sessions_that_fit(resources, self._used()[0], capacity))
            if count is not None
        ]
        return known.model_copy(update={"free": min(counts)}) if counts and known.fits else known

    def before(self, session_id: str) -> int | None:
        """Return how many starts are before this one; None if it does not wait."""
        order = [waiter.session_id for waiter in self._line.order()]
        return order.index(session_id) if session_id in order else None

    def advance(self) -> None:
        """Let through whatever fits now, and tell the others where they stand."""
        while (first := next_to_start(self._line.order(), self._short())) is not None:
            self._line.serve(first.session_id)
            self.free.took(first.flavour)
            self._places.pop(first.session_id).turn.set()
        short = self._short()
        for number, waiter in enumerate(self._line.order()):
            place = self._places[waiter.session_id]
            words = _words(short(waiter), number)
            if words != place.told:
                place.told = words
                place.tell(words)

    def _short(self) -> Callable[[Waiter], frozenset[str]]:
        used, starting = self._used()
        return lambda waiter: self._short_of(waiter, used, starting)

    def _short_of(self, waiter: Waiter, used: Resources, starting: int) -> frozenset[str]:
        short = lacking(waiter.resources, used, self.options.capacity)
        if self.options.max_starting is not None and starting >= self.options.max_starting:
            short |= {"machines", STARTING}
        known = None if self._own_queue else self.free.known().get(waiter.flavour)
        if known is not None and known.free == 0:
            short |= {"gpus"} if waiter.resources.gpus else {"machines"}
        return short

    def _used(self) -> tuple[Resources, int]:
        used, starting = Resources(), 0
        for session_id, (spawner, resources) in list(self._holders.items()):
            if session_id in self._places:
                continue
            if spawner.record.session_id != session_id or not spawner.record.running:
                # It ended in a way that nobody told us.
                del self._holders[session_id]
                continue
            used += resources
            starting += spawner.pending == "spawn"
        return used, starting

    async def _keep_looking(self) -> None:
        while self._places:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._own_queue:
                await self.free.read(within=LOOK_SECONDS)
            self.advance()


def _refuse_what_never_fits(known: Availability) -> None:
    if not known.fits:
        reason = known.reason or "This size is larger than anything there is."
        raise NoCapacityError(f"{reason} Please choose a smaller one.", field="flavour")


def _words(short: frozenset[str], before: int) -> str:
    if STARTING in short:
        what = "the starts before yours"
    else:
        what = next((words for name, words in MISSING.items() if name in short), "a free place")
    return f"Waiting for {what}: " + (f"{before} before you" if before else "you are next")
