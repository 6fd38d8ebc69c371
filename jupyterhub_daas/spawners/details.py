"""What the hub tells a portal page about one session and about what is free; all of it from memory.

A session is told of to those whose token may read it, and its log to nobody but its owner. What is not there
and what is not hers answer alike.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from pydantic import BaseModel
from tornado import web

from jupyterhub_daas.core.availability import Availability
from jupyterhub_daas.core.details import (
    MAX_LOG_LINES,
    SessionDetails,
    SessionLog,
    events_of,
    fit_to_show,
)
from jupyterhub_daas.errors import DaasError
from jupyterhub_daas.spawners.daas import DaasSpawner, deployment_in
from jupyterhub_daas.spawners.deployment import Deployment
from jupyterhub_daas.spawners.records import Record, read_record
from jupyterhub_daas.spawners.view import view_of

LOG_SECONDS = 10.0
DEFAULT_LINES = 200
# How long the form of a start waits for what is free; then it is unknown.
FREE_SECONDS = 1.0


class _Handler(APIHandler):  # type: ignore[misc]  # jupyterhub ships no types
    @property
    def deployment(self) -> Deployment:
        """Return what the spawners share: the application has a copy of the settings that they share."""
        return deployment_in(self.users.settings)

    def answer(self, model: BaseModel) -> None:
        """Finish with a model."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.write(model.model_dump_json())

    def session(self, user_name: str, server_name: str) -> tuple[Any, Record, DaasSpawner | None]:
        """Return a user of the hub, the record of her session, and its spawner if it is in memory."""
        try:
            found: tuple[Any, Record, DaasSpawner | None]
            found = self._session(user_name=user_name, server_name=server_name)
            return found
        except web.HTTPError:
            raise web.HTTPError(404, "There is nothing here.") from None

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]  # jupyterhub ships no types
    def _session(self, *, user_name: str, server_name: str) -> tuple[Any, Record, DaasSpawner | None]:
        user = self.find_user(user_name)
        if user is None:
            raise web.HTTPError(404)
        spawner = dict.get(user.spawners, server_name)
        if isinstance(spawner, DaasSpawner):
            return user, spawner.record, spawner
        row = user.orm_spawners.get(server_name) if server_name else None
        if row is None:
            raise web.HTTPError(404)
        return user, read_record(row.state), None


class DetailsHandler(_Handler):
    """GET /hub/daas/sessions/<person>/<session>."""

    def get(self, user_name: str, server_name: str) -> None:
        """Answer with what is known of a session."""
        user, record, spawner = self.session(user_name, server_name)
        deployment = self.deployment
        row = user.orm_spawners.get(server_name) if spawner is None else spawner.orm_spawner
        view = (
            spawner.session
            if spawner is not None
            else view_of(record, deployment.catalogue, name=server_name, state="stopped")
        )
        flavour = deployment.catalogue.flavours.get(record.flavour)
        self.answer(
            SessionDetails(
                person=user.name,
                name=server_name,
                session_id=record.session_id,
                state=view.state,
                waiting=view.waiting,
                note=view.note,
                proposal=view.proposal,
                environment=view.environment,
                flavour=view.flavour,
                backend=view.backend,
                limits=flavour.resources if flavour else None,
                created=record.created,
                started=_moment(getattr(row, "started", None)),
                expires_at=record.expires_at,
                last_activity=_moment(getattr(row, "last_activity", None)),
                events=events_of(spawner.events if spawner is not None else record.events),
            )
        )


class LogHandler(_Handler):
    """GET /hub/daas/sessions/<person>/<session>/log."""

    async def get(self, user_name: str, server_name: str) -> None:
        """Answer with the end of the session's own log."""
        user, record, spawner = self.session(user_name, server_name)
        asking = self.current_user
        if asking.kind != "user" or asking.name != user.name:
            raise web.HTTPError(404, "There is nothing here.")
        lines = self.get_query_argument("lines", str(DEFAULT_LINES))
        if not (lines.isascii() and lines.isdigit() and 0 < int(lines) <= MAX_LOG_LINES):
            raise web.HTTPError(400, f"lines must be a number from 1 to {MAX_LOG_LINES}")
        text = await self._read(record, int(lines))
        secrets = [str(spawner.api_token or "")] if spawner is not None else []
        self.answer(SessionLog(text=fit_to_show(text, lines=int(lines), secrets=secrets)))

    async def _read(self, record: Record, lines: int) -> str:
        backend = self.deployment.backends.get(record.backend)
        if backend is None or not record.session_id or record.waiting:
            return "Nothing was started yet."
        try:
            reading = backend.read_log(record.session_id, lines=lines)
            return await asyncio.wait_for(reading, LOG_SECONDS)
        except DaasError as error:
            return error.message
        except Exception:
            # Whatever is wrong with the backend is for the hub's log, not for the page.
            self.log.exception("The log of session %s cannot be read", record.session_id)
            return "The log cannot be read now. Please try again in a minute."


class FreeHandler(_Handler):
    """GET /hub/daas/free: what can start now, by profile and flavour. Nobody's data."""

    async def get(self) -> None:
        """Answer with what is known within a second; the rest is unknown."""
        if self.current_user is None:
            raise web.HTTPError(403)
        deployment = self.deployment
        await asyncio.gather(*(line.free.read(within=FREE_SECONDS) for line in deployment.lines.values()))
        self.set_header("Content-Type", "application/json")
        self.write(
            {
                profile: [each.model_dump(mode="json") for each in known]
                for profile, known in free_by_profile(deployment).items()
            }
        )


def free_by_profile(deployment: Deployment) -> Mapping[str, tuple[Availability, ...]]:
    """Return what is free of each flavour of each profile, from memory."""
    return {
        key: tuple(
            deployment.lines[profile.backend].availability(
                flavour, deployment.catalogue.flavours[flavour].resources
            )
            for flavour in profile.flavours
        )
        for key, profile in deployment.catalogue.profiles.items()
    }


def _moment(value: datetime | None) -> datetime | None:
    # The hub stores UTC without saying so.
    return None if value is None else value.replace(tzinfo=timezone.utc)


_SESSION = r"/daas/sessions/([^/]+)/([a-z0-9-]+)"
HANDLERS = [(_SESSION, DetailsHandler), (_SESSION + "/log", LogHandler), (r"/daas/free", FreeHandler)]
