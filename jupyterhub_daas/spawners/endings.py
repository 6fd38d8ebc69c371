"""Who ends a session, and why: what of a request to end one reaches the audit trail.

The hub hands nothing of such a request on to the session that it ends. What it does for the request runs in
the request's own context, which holds the answer: no other request sees it, nor an end that nobody asked for.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, NamedTuple

from jupyterhub.apihandlers.users import UserServerAPIHandler
from pydantic import ValidationError
from tornado import web

from jupyterhub_daas.core.audit import MAX_NAME, Actor, ActorKind, shown
from jupyterhub_daas.core.reconciliation import EndCause

# Who may say why: lifecycle, which compares the hub's sessions with what they hold.
SCOPE = "custom:daas:sessions:reconcile"
# How long a start that was interrupted may take to be over, before whoever wants it ended has to ask again.
PENDING_SECONDS = 10.0


class Asked(NamedTuple):
    """An end that somebody asks for; `reason` is None where it is only that."""

    by: Actor
    reason: str | None = None


_ASKED: ContextVar[Asked | None] = ContextVar("daas_end_asked", default=None)


def asked_for() -> Asked | None:
    """Return who asked for what the hub does now, or None if nobody did."""
    return _ASKED.get()


def actor_of(asking: Any) -> Actor:
    """Return a user or service of the hub as the audit trail names it."""
    kind = ActorKind.SERVICE if asking.kind == "service" else ActorKind.PERSON
    return Actor(kind=kind, name=shown(asking.name, MAX_NAME))


class EndHandler(UserServerAPIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    """The hub's own way to end a session, which remembers who came along it."""

    async def delete(self, user_name: str, server_name: str = "") -> None:
        """End a session as the hub does; whoever may not is refused there."""
        token = _ASKED.set(self._asked())
        try:
            await super().delete(user_name, server_name)
        finally:
            _ASKED.reset(token)

    async def stop_single_user(self, user: Any, server_name: str = "") -> Any:
        """End a session; one whose start was just cancelled, or whose route is being made, when that is over.

        The hub gives that a second, which a busy one itself may need, and fails then.
        """
        spawner = user.spawners[server_name]
        clock = asyncio.get_running_loop().time
        deadline = clock() + PENDING_SECONDS
        while spawner.pending and clock() < deadline:
            if (ending := getattr(spawner, "_stop_future", None)) is not None:
                # Somebody else was quicker, whose end this one shares.
                return ending
            await asyncio.sleep(0.05)
        if spawner.pending:
            raise web.HTTPError(503, "The session is still starting. Please try again in a few seconds.")
        return await super().stop_single_user(user, server_name)

    def _asked(self) -> Asked | None:
        if self.current_user is None:
            return None
        asking = actor_of(self.current_user)
        body = self.get_json_body() if SCOPE in self.expanded_scopes else None
        if not isinstance(body, dict) or "cause" not in body:
            return Asked(asking)
        try:
            cause = EndCause.model_validate(body["cause"])
        except ValidationError:
            raise web.HTTPError(400, "The cause of the end can't be read.") from None
        return Asked(cause.by or asking, cause.reason.value)


HANDLERS = [(r"/api/users/([^/]+)/servers/([^/]+)", EndHandler)]
