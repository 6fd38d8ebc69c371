"""The table of requests for access: one open request for each identity, answered once.

What an acceptance gives (a link, a role) is written in the transaction that closes the request. That staff is
told is an errand of the same transaction: no request waits for the notification, and none is lost by it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.access_requests import AccessRequest, AskedAccess, RequestState
from jupyterhub_daas.core.audit import MAX_NAME, Actor, ActorKind, AuditAction, Author, shown
from jupyterhub_daas.core.links import LinkSource
from jupyterhub_daas.core.people import Identity, Role
from jupyterhub_daas.database.engine import answering
from jupyterhub_daas.errors import ConflictError, NotFoundError, TooManyAttemptsError
from jupyterhub_daas.services.accounts.errands import ErrandKind, leave
from jupyterhub_daas.services.accounts.identities import Evidence, IdentityStore
from jupyterhub_daas.services.accounts.models import RoleRequest
from jupyterhub_daas.services.accounts.store import grant_within
from jupyterhub_daas.services.accounts.tables import access_requests
from jupyterhub_daas.services.accounts.telling import identity_object, tell

# Anybody can make accounts at a public provider: what one identity, and all of them, may lay before staff.
MOST_A_DAY = 3
MOST_OPEN = 500
_DAY = timedelta(days=1)


class Given(NamedTuple):
    """What an acceptance gives: a link to this person, and a role to `person`, if these are not None."""

    link_to: str | None
    person: str | None
    directory: str | None
    role: Role | None = None
    grant: RoleRequest | None = None


class RequestStore:
    """Keep requests, list them, and answer each once."""

    def __init__(self, engine: AsyncEngine, identities: IdentityStore) -> None:
        self._engine, self._identities = engine, identities

    async def ask(
        self, asked: AskedAccess, username: str | None, *, request_id: str | None, now: datetime
    ) -> AccessRequest:
        """Keep a request; refuse a second open one, and too many."""
        async with self._identities.changing(asked.identity) as connection:
            await _check_room(connection, asked.identity, now)
            row = {
                **asked.identity.model_dump(),
                **asked.model_dump(include={"provider", "name", "email", "message"}),
                "username": username,
                "state": RequestState.PENDING.value,
                "created_at": now,
            }
            made = insert(access_requests).values(**row).returning(access_requests)
            request = _request((await connection.execute(made)).one())
            await _tell(connection, request, "made", by=Author(_asker(request), request_id), now=now)
            return request

    async def read(self, number: int) -> AccessRequest:
        """Return one request."""
        async with self._reading() as connection:
            return await _read(connection, number)

    async def list_requests(
        self,
        *,
        state: RequestState | None = None,
        identity: Identity | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[AccessRequest, ...]:
        """Return some requests, the latest first."""
        query = select(access_requests).order_by(access_requests.c.id.desc()).limit(limit)
        if state is not None:
            query = query.filter_by(state=state.value)
        if identity is not None:
            query = query.filter_by(**identity.model_dump())
        if before is not None:
            query = query.where(access_requests.c.id < before)
        async with self._reading() as connection:
            return tuple(_request(row) for row in await connection.execute(query))

    async def accept(
        self, request: AccessRequest, given: Given, answer: str, *, by: Author, now: datetime
    ) -> AccessRequest:
        """Give what is given, and close the request; all or nothing."""
        people = [name for name in {given.link_to, given.person} if name is not None]
        async with self._identities.changing(request.identity, *people) as connection:
            await _check_open(connection, request.id)
            if given.link_to is not None:
                reason = f"Request for access {request.id}. {answer}".strip()[:500]
                evidence = Evidence(LinkSource.STAFF, reason, by)
                await self._identities.link_within(
                    connection,
                    request.identity,
                    given.link_to,
                    evidence,
                    directory=given.directory,
                    now=now,
                )
            if given.person is not None and given.role is not None and given.grant is not None:
                await grant_within(connection, given.person, given.role, given.grant, by=by, now=now)
            changes = {"state": RequestState.ACCEPTED.value, "username": given.person}
            return await _close(connection, request.id, changes, answer, by=by, now=now)

    async def decline(
        self, request: AccessRequest, answer: str, *, by: Author, now: datetime
    ) -> AccessRequest:
        """Close a request without giving anything; the person reads why."""
        async with self._identities.changing(request.identity) as connection:
            await _check_open(connection, request.id)
            changes = {"state": RequestState.DECLINED.value}
            return await _close(connection, request.id, changes, answer, by=by, now=now)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with answering():
            async with self._engine.connect() as connection:
                yield connection


async def _check_room(connection: AsyncConnection, identity: Identity, now: datetime) -> None:
    own = select(access_requests.c.state, access_requests.c.created_at).filter_by(**identity.model_dump())
    latest = (await connection.execute(own.order_by(access_requests.c.id.desc()).limit(MOST_A_DAY))).all()
    if latest and latest[0].state == RequestState.PENDING.value:
        raise ConflictError("You have asked already, and your request waits for an answer.", field="identity")
    if len(latest) == MOST_A_DAY and latest[-1].created_at > now - _DAY:
        wait = (latest[-1].created_at + _DAY - now).total_seconds()
        raise TooManyAttemptsError(
            f"You have asked {MOST_A_DAY} times since yesterday. "
            "Please write to the user office, or try again tomorrow.",
            retry_after=int(wait) + 1,
        )
    pending = select(func.count()).where(access_requests.c.state == RequestState.PENDING.value)
    if (await connection.scalar(pending) or 0) >= MOST_OPEN:
        raise TooManyAttemptsError(
            "Too many requests wait for an answer at present. Please write to the user office instead.",
            retry_after=3600,
        )


async def _read(connection: AsyncConnection, number: int) -> AccessRequest:
    row = (await connection.execute(select(access_requests).filter_by(id=number))).one_or_none()
    if row is None:
        raise NotFoundError("There is nothing here for you.")
    return _request(row)


async def _check_open(connection: AsyncConnection, number: int) -> None:
    # Within the lock of its identity: of two who answer at once, one finds it answered.
    request = await _read(connection, number)
    if request.state is not RequestState.PENDING:
        raise ConflictError(
            f"This request was {request.state.value} by {request.answered_by} meanwhile.", field="state"
        )


async def _close(
    connection: AsyncConnection,
    number: int,
    changes: Mapping[str, str | None],
    answer: str,
    *,
    by: Author,
    now: datetime,
) -> AccessRequest:
    changed = (
        update(access_requests)
        .filter_by(id=number)
        .values(**changes, answer=answer, answered_at=now, answered_by=by.actor.name)
        .returning(access_requests)
    )
    request = _request((await connection.execute(changed)).one())
    await _tell(connection, request, request.state.value, by=by, now=now)
    return request


async def _tell(
    connection: AsyncConnection, request: AccessRequest, change: str, *, by: Author, now: datetime
) -> None:
    await leave(connection, ErrandKind.NOTIFY, {"request": request.model_dump(mode="json")}, now=now)
    # What the person wrote of herself stays out of a trail that nothing is ever taken from.
    details = {"change": change, "request": str(request.id), "reason": request.answer or ""}
    await tell(
        connection,
        AuditAction.ACCESS_REQUEST,
        identity_object(request.identity),
        by=by,
        now=now,
        on_behalf_of=request.username,
        **details,
    )


def _asker(request: AccessRequest) -> Actor:
    if request.username is not None:
        return Actor(kind=ActorKind.PERSON, name=request.username)
    name = shown(f"{request.identity.subject} {request.identity.issuer}", MAX_NAME)
    return Actor(kind=ActorKind.IDENTITY, name=name)


def _request(row: Row[Any]) -> AccessRequest:
    plain = {name: getattr(row, name) for name in AccessRequest.model_fields if name != "identity"}
    return AccessRequest(identity=Identity(issuer=row.issuer, subject=row.subject), **plain)
