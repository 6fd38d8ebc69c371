"""How a front spawner waits for its turn: held resources stay held, and a restart of the hub loses nothing.

A start that waits has begun nothing. When the hub is restarted meanwhile, it is ended with a note that its
person finds on the card, for nobody is there any more who asked for it.
"""

import asyncio
from datetime import datetime
from typing import Any

from jupyterhub_daas.core.reservations import DEFAULT_HOLD_SECONDS
from jupyterhub_daas.core.resources import Resources
from jupyterhub_daas.errors import (
    ConflictError,
    DaasError,
    NotFoundError,
    QuotaExceededError,
    SessionLostError,
)
from jupyterhub_daas.spawners import rows
from jupyterhub_daas.spawners.gate import Admission

# Well before what is held lapses.
PROLONG_SECONDS = DEFAULT_HOLD_SECONDS / 3
PROGRESS = 20
INTERRUPTED = (
    "The portal was restarted while this start was waiting for its turn, so it was given up before anything "
    "was begun. Please start it again."
)


async def wait_for_turn(spawner: Any, admission: Admission) -> bool:
    """Return when a start may begin on its backend, and whether it waited; cancelling leaves the line."""
    launch = admission.launch
    line = spawner.deployment.lines[launch.backend]

    def tell(words: str) -> None:
        spawner.waiting = words
        spawner.tell(PROGRESS, words)

    try:
        turn = await line.enter(spawner, launch, tell)
        if turn is None:
            return False
        spawner.record.waiting = True
        rows.keep_state(spawner, spawner.get_state())
        while not await _comes(turn, PROLONG_SECONDS):
            await hold_on(spawner, launch.session_id, launch.expires_at)
    except BaseException:
        line.leave(launch.session_id)
        raise
    finally:
        spawner.waiting = ""
        spawner.record.waiting = False
    rows.keep_state(spawner, spawner.get_state())
    return True


def count_as_started(spawner: Any) -> None:
    """Count a session of an earlier hub process as one that has been let through."""
    record = spawner.record
    if not record.running or record.waiting or not record.session_id:
        return
    line = spawner.deployment.lines.get(record.backend)
    if line is not None:
        flavour = spawner.deployment.catalogue.flavours.get(record.flavour)
        line.hold(spawner, record.session_id, flavour.resources if flavour else Resources(machines=1))


def leave_the_line(spawner: Any) -> None:
    """Give a place back when a start or a session is over; note a wait that an earlier hub began."""
    record = spawner.record
    if record.waiting:
        record.waiting = False
        record.note = INTERRUPTED
    line = spawner.deployment.lines.get(record.backend)
    if line is not None:
        line.leave(record.session_id)


async def _comes(turn: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(turn.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


async def hold_on(spawner: Any, session_id: str, expires_at: datetime | None) -> None:
    """Keep what is held from lapsing; raise if it is another's by now."""
    try:
        await spawner.deployment.quotas.prolong(session_id, expires_at)
    except (NotFoundError, ConflictError, QuotaExceededError) as error:
        raise SessionLostError(
            "What was held for this start was given to others while it waited. Please start it again."
        ) from error
    except DaasError as error:
        spawner.log.warning("Reservation %s is prolonged later: %s", session_id, error)
