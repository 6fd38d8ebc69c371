"""What is kept of accounts, and the rules of keeping it.

All changes to one person's rows are made one after the other: each takes that person's lock first, so that a
check and the change that follows it see the same rows. What the audit trail is to tell is written in the same
transaction as the change, and only if something did change.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.core.access import Block
from jupyterhub_daas.core.audit import AuditAction, AuditObject, Author, ObjectKind
from jupyterhub_daas.core.people import Role
from jupyterhub_daas.database.engine import answering, writing
from jupyterhub_daas.errors import ConflictError
from jupyterhub_daas.services.accounts.errands import ErrandKind, leave
from jupyterhub_daas.services.accounts.models import (
    MAX_FAVOURITES,
    Acceptance,
    HeldRole,
    RoleRequest,
    RoleSource,
)
from jupyterhub_daas.services.accounts.tables import (
    acceptances,
    blocks,
    entitled_roles,
    favourites,
    preferences,
    roles,
)
from jupyterhub_daas.services.accounts.telling import person, tell


class AccountsStore:
    """Read and change what the account API keeps."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def _changing(self, username: str) -> AsyncIterator[AsyncConnection]:
        async with writing(self._engine) as connection:
            # SQLite holds its one write lock already; PostgreSQL would let two changes of a person overlap.
            if connection.dialect.name == "postgresql":
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
                    {"key": f"daas-accounts/{username}"},
                )
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with answering():
            async with self._engine.connect() as connection:
                yield connection

    # --- standing

    async def read_standing(
        self, username: str, version: str
    ) -> tuple[Block | None, datetime | None, tuple[HeldRole, ...]]:
        """Return a person's block, when she accepted this version, and the roles that are kept here."""
        async with self._reading() as connection:
            accepted = await connection.scalar(
                select(acceptances.c.accepted_at).where(
                    acceptances.c.username == username, acceptances.c.version == version
                )
            )
            return await _block_of(connection, username), accepted, await _roles_of(connection, username)

    # --- conditions

    async def accept(self, username: str, version: str, *, now: datetime, by: Author | None = None) -> None:
        """Record an acceptance; of a version that was accepted before, the first time stays."""
        row = {"username": username, "version": version}
        async with self._changing(username) as connection:
            known = select(acceptances.c.id).filter_by(**row)
            if await connection.scalar(known) is None:
                await connection.execute(insert(acceptances).values(**row, accepted_at=now))
                conditions = AuditObject(kind=ObjectKind.CONDITIONS, key=version)
                await tell(
                    connection, AuditAction.ACCEPTANCE, conditions, by=by or Author.person(username), now=now
                )

    async def list_acceptances(self, username: str) -> tuple[Acceptance, ...]:
        """Return what a person accepted, the latest first."""
        query = (
            select(acceptances.c.version, acceptances.c.accepted_at)
            .where(acceptances.c.username == username)
            .order_by(acceptances.c.id.desc())
        )
        async with self._reading() as connection:
            rows = await connection.execute(query)
            return tuple(Acceptance(version=row.version, accepted_at=row.accepted_at) for row in rows)

    # --- favourites

    async def list_favourites(self, username: str) -> tuple[str, ...]:
        """Return a person's favourite proposals, the latest last."""
        query = (
            select(favourites.c.identifier)
            .where(favourites.c.username == username)
            .order_by(favourites.c.added_at, favourites.c.identifier)
        )
        async with self._reading() as connection:
            return tuple(await connection.scalars(query))

    async def add_favourite(self, username: str, identifier: str, *, now: datetime) -> None:
        """Make a proposal a favourite; refuse beyond the limit."""
        row = {"username": username, "identifier": identifier}
        async with self._changing(username) as connection:
            if await connection.scalar(select(favourites.c.identifier).filter_by(**row)) is not None:
                return
            count = await connection.scalar(
                select(func.count()).select_from(favourites).where(favourites.c.username == username)
            )
            if (count or 0) >= MAX_FAVOURITES:
                raise ConflictError(
                    f"You have {MAX_FAVOURITES} favourites. Remove one before you add another.",
                    field="identifier",
                )
            await connection.execute(insert(favourites).values(**row, added_at=now))

    async def remove_favourite(self, username: str, identifier: str) -> None:
        """Make a proposal a favourite no longer."""
        async with self._changing(username) as connection:
            await connection.execute(delete(favourites).filter_by(username=username, identifier=identifier))

    # --- preferences

    async def read_preferences(self, username: str) -> dict[str, str]:
        """Return a person's preferences."""
        query = select(preferences.c.name, preferences.c.value).where(preferences.c.username == username)
        async with self._reading() as connection:
            return {row.name: row.value for row in await connection.execute(query.order_by("name"))}

    async def replace_preferences(self, username: str, given: Mapping[str, str]) -> None:
        """Put these preferences in the place of all former ones."""
        async with self._changing(username) as connection:
            await connection.execute(delete(preferences).filter_by(username=username))
            if given:
                await connection.execute(
                    insert(preferences),
                    [{"username": username, "name": name, "value": value} for name, value in given.items()],
                )

    # --- blocks

    async def block(self, username: str, reason: str, *, by: Author, now: datetime) -> None:
        """Keep a person out; another reason follows the former one, which stays in the history."""
        async with self._changing(username) as connection:
            present = await _block_of(connection, username)
            if present is not None and present.reason == reason:
                return
            await _end_block(connection, username, by=by.actor.name, now=now)
            await connection.execute(
                insert(blocks).values(
                    username=username,
                    reason=reason,
                    # She is out since the first block, whatever the reason is by now.
                    since=now if present is None else present.since,
                    set_by=by.actor.name,
                )
            )
            await leave(connection, ErrandKind.ASK_AGAIN, {"username": username}, now=now)
            await tell(connection, AuditAction.BLOCK, person(username), by=by, now=now, reason=reason)

    async def unblock(self, username: str, *, by: Author, now: datetime) -> None:
        """Let a person in again, and keep by whom and when."""
        async with self._changing(username) as connection:
            if await _end_block(connection, username, by=by.actor.name, now=now):
                await tell(connection, AuditAction.UNBLOCK, person(username), by=by, now=now)

    async def list_blocked(self) -> tuple[str, ...]:
        """Return everybody who is blocked."""
        query = select(blocks.c.username).where(blocks.c.ended_at.is_(None)).order_by(blocks.c.username)
        async with self._reading() as connection:
            return tuple(await connection.scalars(query))

    # --- roles

    async def list_roles(self, username: str) -> tuple[HeldRole, ...]:
        """Return the roles that staff and entitlements gave a person, expired ones too."""
        async with self._reading() as connection:
            return await _roles_of(connection, username)

    async def grant(
        self, username: str, role: Role, request: RoleRequest, *, by: Author, now: datetime
    ) -> None:
        """Give a person a role, in the place of a former grant of the same role."""
        async with self._changing(username) as connection:
            await grant_within(connection, username, role, request, by=by, now=now)

    async def revoke(self, username: str, role: Role, *, by: Author, now: datetime) -> bool:
        """Take a role back that staff gave; tell whether there was one."""
        gone = delete(roles).filter_by(username=username, role=role.value).returning(roles.c.role)
        async with self._changing(username) as connection:
            if (await connection.execute(gone)).first() is None:
                return False
            details = {"change": "revoked", "role": role.value}
            await tell(connection, AuditAction.ROLE, person(username), by=by, now=now, **details)
            return True


async def grant_within(
    connection: AsyncConnection, username: str, role: Role, request: RoleRequest, *, by: Author, now: datetime
) -> None:
    """Give a person a role as part of a transaction that holds this person's lock."""
    await connection.execute(delete(roles).filter_by(username=username, role=role.value))
    await connection.execute(
        insert(roles).values(
            username=username,
            role=role.value,
            instruments=list(request.instruments),
            expires_at=request.expires_at,
            reason=request.reason,
            granted_by=by.actor.name,
            granted_at=now,
        )
    )
    details = {
        "change": "granted",
        "role": role.value,
        "instruments": " ".join(request.instruments),
        "expires_at": request.expires_at.isoformat() if request.expires_at else "",
        "reason": request.reason,
    }
    await tell(connection, AuditAction.ROLE, person(username), by=by, now=now, **details)


async def _block_of(connection: AsyncConnection, username: str) -> Block | None:
    query = select(blocks.c.reason, blocks.c.since).filter_by(username=username, ended_at=None)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Block(reason=row.reason, since=row.since)


async def _end_block(connection: AsyncConnection, username: str, *, by: str, now: datetime) -> bool:
    ended = await connection.execute(
        update(blocks).filter_by(username=username, ended_at=None).values(ended_at=now, ended_by=by)
    )
    return bool(ended.rowcount)


async def _roles_of(connection: AsyncConnection, username: str) -> tuple[HeldRole, ...]:
    query = select(roles).where(roles.c.username == username).order_by(roles.c.role)
    by_staff = tuple(
        HeldRole(
            role=Role(row.role),
            instruments=tuple(row.instruments),
            expires_at=row.expires_at,
            source=RoleSource.STAFF,
            reason=row.reason,
            granted_by=row.granted_by,
            granted_at=row.granted_at,
        )
        for row in await connection.execute(query)
    )
    entitled = select(entitled_roles).where(entitled_roles.c.username == username)
    order = (entitled_roles.c.role, entitled_roles.c.issuer, entitled_roles.c.subject)
    return by_staff + tuple(
        HeldRole(
            role=Role(row.role),
            instruments=tuple(row.instruments),
            expires_at=row.expires_at,
            source=RoleSource.ENTITLEMENT,
            reason=entitlement_of(row.issuer),
        )
        for row in await connection.execute(entitled.order_by(*order))
    )


def entitlement_of(issuer: str) -> str:
    """Return why a person has a role that an entitlement gives."""
    return f"By an entitlement of {issuer}."
