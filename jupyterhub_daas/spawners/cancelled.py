"""What becomes of a start that somebody cancels: it ends, and whoever waits for it is told.

The hub gives a cancelled start one second, in the request that cancelled it. If anything comes between,
nobody in the hub looks after the session any more, and it can be neither ended nor deleted.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from tornado.ioloop import IOLoop

from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.spawners.refusals import Refusal

if TYPE_CHECKING:
    from jupyterhub_daas.spawners.daas import DaasSpawner

# How long the hub may still want a start that was cancelled, to end it or to delete its row.
CANCELLED_SECONDS = 5.0


def watch_start(spawner: "DaasSpawner") -> None:
    """Have the start that begins now end in order if it is cancelled."""
    if spawner._spawn_future is not None:
        spawner._spawn_future.add_done_callback(partial(_start_is_over, spawner, spawner.handler))


def _start_is_over(spawner: "DaasSpawner", handler: Any, start: asyncio.Future[None]) -> None:
    if not start.cancelled():
        return
    if handler is not None and not handler._finished:
        # The hub would answer that something went wrong inside.
        refusal = Refusal(ConflictError("The session was stopped before it had started."))
        handler.send_error(refusal.status_code, exc_info=(Refusal, refusal, None))
    IOLoop.current().call_later(CANCELLED_SECONDS, _end_what_is_left, spawner, spawner.record.session_id)


async def _end_what_is_left(spawner: "DaasSpawner", session_id: str) -> None:
    here = dict.get(spawner.user.spawners, spawner.name) is spawner
    if here and spawner.ready and spawner.record.session_id == session_id:
        spawner.log.warning("Ending what the cancelled start of session %s left", session_id)
        await spawner.user.settings["proxy"].delete_user(spawner.user, spawner.name)
        await spawner.user.stop(spawner.name)
