"""The table of identities: at most one link in force for each, former ones kept.

Two locks make a check and its change one step on PostgreSQL: first the identity's, then the person's.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, and_, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.audit import AuditAction, Author, request_id_of
from jupyterhub_daas.core.links import Held, Link, LinkSource, Owner, SessionsPolicy, owner_of
from jupyterhub_daas.core.people import Identity
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import ConflictError, NotFoundError
from jupyterhub_daas.services.accounts.errands import ErrandKind, leave
from jupyterhub_daas.services.accounts.tables import entitled_roles, identities
from jupyterhub_daas.services.accounts.telling import OURSELVES, identity_object, tell

TAKEN = "This identity belongs to somebody else here. If it is yours, please ask the user office to move it."
SECOND = (
    "Another account of the same provider is linked to this person. Unlink that one first, "
    "or sign in with it."
)


class Evidence(NamedTuple):
    """Why a link is made or taken away: by whom, how, and in which words."""

    source: LinkSource
    reason: str
    by: Author


class IdentityStore:
    """Answer whose an identity is, and link and unlink it."""

    def __init__(self, engine: AsyncEngine, *, sessions: SessionsPolicy = SessionsPolicy.END) -> None:
        self._engine, self._sessions = engine, sessions

    @asynccontextmanager
    async def changing(self, identity: Identity, *usernames: str) -> AsyncIterator[AsyncConnection]:
        """Open a transaction in which nobody else changes this identity, or what these people have."""
        async with writing(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                key = f"daas-identity/{identity.issuer} {identity.subject}"
                for each in (key, *(f"daas-accounts/{name}" for name in sorted(usernames))):
                    await connection.execute(
                        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": each}
                    )
            yield connection

    # --- whose

    async def settle(self, identity: Identity, directory: str | None, *, now: datetime) -> Owner:
        """Return whose an identity is, and keep what the directory says if that is news."""
        with answering():
            async with self._engine.connect() as connection:
                held = await _held(connection, identity)
        owner = owner_of(directory=directory, held=held)
        if owner.disputed or owner.username == held.username:
            return owner
        async with self.changing(identity) as connection:
            held = await _held(connection, identity)
            owner = owner_of(directory=directory, held=held)
            if not owner.disputed and owner.username != held.username:
                await self._follow(connection, identity, held, owner.username, now=now)
        return owner

    async def _follow(
        self,
        connection: AsyncConnection,
        identity: Identity,
        held: Held,
        username: str | None,
        *,
        now: datetime,
    ) -> None:
        # One id for all that follows from what the directory says now.
        by = Author(OURSELVES, request_id_of(None))
        evidence = Evidence(LinkSource.DIRECTORY, "The facility's directory says so.", by)
        if held.username is not None:
            await self._take(connection, identity, held.username, evidence, now=now)
        if username is not None:
            await _give(connection, identity, username, evidence, now=now)

    async def links_of(self, username: str, directory: Collection[Identity]) -> tuple[Link, ...]:
        """Return a person's links that hold, the oldest first, then those that only the directory has."""
        query = select(identities).filter_by(username=username, revoked_at=None).order_by(identities.c.id)
        with answering():
            async with self._engine.connect() as connection:
                kept = [_link(row) for row in await connection.execute(query)]
                used = {link.identity for link in kept}
                new = [
                    identity
                    for identity in directory
                    if identity not in used
                    and owner_of(directory=username, held=await _held(connection, identity)).username
                    == username
                ]
        # What the directory has given up is settled when that identity is asked for.
        held = [
            each for each in kept if each.source is not LinkSource.DIRECTORY or each.identity in directory
        ]
        return (
            *held,
            *(Link(identity=each, username=username, source=LinkSource.DIRECTORY) for each in new),
        )

    # --- changes

    async def link(
        self, identity: Identity, username: str, evidence: Evidence, *, directory: str | None, now: datetime
    ) -> None:
        """Link an identity; refuse if it is somebody else's, or the person's second at its issuer."""
        async with self.changing(identity, username) as connection:
            await self.link_within(connection, identity, username, evidence, directory=directory, now=now)

    async def link_within(
        self,
        connection: AsyncConnection,
        identity: Identity,
        username: str,
        evidence: Evidence,
        *,
        directory: str | None,
        now: datetime,
    ) -> None:
        """Link an identity as part of a transaction that `changing` began."""
        held = await _held(connection, identity)
        owner = owner_of(directory=directory, held=held)
        if owner.username == username:
            await self._settle_own(connection, identity, held, username, now=now)
            return
        by_person = evidence.source is LinkSource.PERSON
        # Staff may decide a dispute; a link that holds has to be taken away first, by either.
        if owner.username is not None or (owner.disputed and by_person):
            raise ConflictError(TAKEN, field="subject")
        if by_person and directory not in (None, username):
            raise ConflictError(TAKEN, field="subject")
        if await _has_another(connection, identity, username):
            raise ConflictError(SECOND, field="issuer")
        if held.username is not None:
            await self._take(connection, identity, held.username, evidence, now=now)
        await _give(connection, identity, username, evidence, now=now)

    async def _settle_own(
        self, connection: AsyncConnection, identity: Identity, held: Held, username: str, *, now: datetime
    ) -> None:
        if held.username != username:
            await self._follow(connection, identity, held, username, now=now)

    async def unlink(
        self, identity: Identity, username: str, evidence: Evidence, *, directory: str | None, now: datetime
    ) -> None:
        """Take an identity from a person, and leave the errands that end what came of it."""
        async with self.changing(identity, username) as connection:
            held = await _held(connection, identity)
            if owner_of(directory=directory, held=held).username != username:
                raise NotFoundError("There is nothing here for you.")
            await self._settle_own(connection, identity, held, username, now=now)
            await self._take(connection, identity, username, evidence, now=now)

    async def _take(
        self,
        connection: AsyncConnection,
        identity: Identity,
        username: str,
        evidence: Evidence,
        *,
        now: datetime,
    ) -> None:
        await connection.execute(
            update(identities)
            .filter_by(**identity.model_dump(), username=username, revoked_at=None)
            .values(
                revoked_at=now,
                revoked_by=evidence.by.actor.name,
                revoked_reason=evidence.reason,
                withdrawn=evidence.source is not LinkSource.DIRECTORY,
            )
        )
        await connection.execute(delete(entitled_roles).filter_by(**identity.model_dump(), username=username))
        keep = self._sessions is SessionsPolicy.KEEP
        lost = {"username": username, "lost": {**identity.model_dump(), "keep_sessions": keep}}
        await leave(connection, ErrandKind.END_LOGINS, lost, now=now)
        if not keep:
            await leave(connection, ErrandKind.END_SESSIONS, {"username": username}, now=now)
        await _tell(connection, AuditAction.UNLINK, identity, username, evidence, now=now)


async def _give(
    connection: AsyncConnection, identity: Identity, username: str, evidence: Evidence, *, now: datetime
) -> None:
    await connection.execute(
        insert(identities).values(
            **identity.model_dump(),
            username=username,
            source=evidence.source.value,
            reason=evidence.reason,
            linked_at=now,
            linked_by=evidence.by.actor.name,
            withdrawn=False,
        )
    )
    await _tell(connection, AuditAction.LINK, identity, username, evidence, now=now)


def _link(row: Row[Any]) -> Link:
    return Link(
        identity=Identity(issuer=row.issuer, subject=row.subject),
        username=row.username,
        source=LinkSource(row.source),
        linked_at=row.linked_at,
        linked_by=row.linked_by,
        reason=row.reason,
    )


async def leads_to(connection: AsyncConnection, identity: Identity) -> str | None:
    """Return to whom the link in force leads, as part of a transaction that `changing` began."""
    return (await _held(connection, identity)).username


async def _held(connection: AsyncConnection, identity: Identity) -> Held:
    query = (
        select(identities.c.username, identities.c.source, identities.c.revoked_at, identities.c.withdrawn)
        .filter_by(**identity.model_dump())
        .order_by(identities.c.id.desc())
        .limit(1)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return Held()
    if row.revoked_at is None:
        return Held(row.username, LinkSource(row.source))
    return Held(withdrawn=row.username if row.withdrawn else None)


async def _has_another(connection: AsyncConnection, identity: Identity, username: str) -> bool:
    query = select(identities.c.id).where(
        and_(
            identities.c.username == username,
            identities.c.issuer == identity.issuer,
            identities.c.revoked_at.is_(None),
        )
    )
    return (await connection.execute(query)).first() is not None


async def _tell(
    connection: AsyncConnection,
    action: AuditAction,
    identity: Identity,
    username: str,
    evidence: Evidence,
    *,
    now: datetime,
) -> None:
    await tell(
        connection,
        action,
        identity_object(identity),
        by=evidence.by,
        now=now,
        on_behalf_of=username,
        source=evidence.source.value,
        reason=evidence.reason,
    )
