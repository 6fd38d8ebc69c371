"""Answers from the snapshot. Each method reads within one transaction, so from one snapshot.

A proposal is visible to its members and to the scientists of its instruments; `viewer` None sees all.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.elements import ColumnElement

from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import Dataset, Member, MemberRole, Membership, Page, Proposal
from jupyterhub_daas.database.engine import answering
from jupyterhub_daas.errors import NotFoundError, UpstreamUnavailableError
from jupyterhub_daas.services.proposals.indexing import IndexReader
from jupyterhub_daas.services.proposals.listing import Listing, contains, own_page, own_total
from jupyterhub_daas.services.proposals.tables import (
    datasets,
    identities,
    members,
    people,
    proposals,
    scientists,
    sites,
    snapshots,
)


class SnapshotState(NamedTuple):
    """Which snapshot is in use."""

    fingerprint: str
    read_at: datetime
    people: int
    instruments: int
    proposals: int


class DirectoryStore:
    """Read people and proposals."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._has_snapshot = False
        self._index = IndexReader()

    async def snapshot(self) -> SnapshotState | None:
        """Return which snapshot is in use."""
        statement = select(*(snapshots.c[name] for name in SnapshotState._fields))
        with answering():
            async with self._engine.connect() as connection:
                row = (await connection.execute(statement)).first()
        return None if row is None else SnapshotState(*row)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        with answering():
            async with self._engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    # Statements of one transaction see one snapshot; SQLite does so anyway.
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                async with connection.begin():
                    await self._require_snapshot(connection)
                    yield connection

    async def _require_snapshot(self, connection: AsyncConnection) -> None:
        if self._has_snapshot:
            return
        # Before the first reading nobody is known: that is an outage, and no answer.
        if (await connection.execute(select(snapshots.c.id))).first() is None:
            raise UpstreamUnavailableError(
                "The facility's directory is not there yet. Please try again in a minute.",
                service="proposals",
            )
        self._has_snapshot = True

    # --- people

    async def person(self, username: str) -> Person:
        """Return a person."""
        return await self._person(select(people.c.record).where(people.c.username == username))

    async def person_of(self, identity: Identity) -> Person | None:
        """Return the person whom the facility linked to an identity."""
        statement = (
            select(people.c.record)
            .join(identities, identities.c.username == people.c.username)
            .where(identities.c.issuer == identity.issuer, identities.c.subject == identity.subject)
        )
        try:
            return await self._person(statement)
        except NotFoundError:
            return None

    async def identities_of(self, username: str) -> tuple[Identity, ...]:
        """Return the identities that the facility linked to a person."""
        statement = (
            select(identities.c.issuer, identities.c.subject)
            .where(identities.c.username == username)
            .order_by(identities.c.issuer, identities.c.subject)
        )
        async with self._reading() as connection:
            rows = await connection.execute(statement)
            return tuple(Identity(issuer=row.issuer, subject=row.subject) for row in rows)

    async def held(self, asked: Collection[Membership]) -> tuple[Membership, ...]:
        """Return those of some memberships that hold, all as of one snapshot."""
        found = []
        async with self._reading() as connection:
            for each in asked:
                statement = select(proposals.c.identifier).where(*_visible(each.proposal, each.username))
                if (await connection.execute(statement)).first() is not None:
                    found.append(each)
        return tuple(found)

    async def _person(self, statement: Select[Any]) -> Person:
        async with self._reading() as connection:
            record = await connection.scalar(statement)
        if record is None:
            raise _absent()
        return Person.model_validate_json(record)

    # --- lists

    async def proposals_of(self, username: str, listing: Listing) -> Page[Proposal]:
        """Return one page of what a person sees."""
        who = (
            select(people.c.username, scientists.c.instrument)
            .outerjoin(scientists, scientists.c.username == people.c.username)
            .where(people.c.username == username)
        )
        async with self._reading() as connection:
            found = (await connection.execute(who)).all()
            if not found:
                raise _absent()
            instruments = [row.instrument for row in found if row.instrument is not None]
            if instruments:
                records, total = await self._seen(connection, username, instruments, listing)
            else:
                records, total = await self._own(connection, username, listing)
        return Page[Proposal](
            items=tuple(Proposal.model_validate_json(record) for record in records), total=total
        )

    async def _own(
        self, connection: AsyncConnection, username: str, listing: Listing
    ) -> tuple[Sequence[str], int]:
        dialect = connection.dialect.name
        rows = (await connection.execute(own_page(listing, username, dialect))).all()
        if rows or listing.offset == 0:
            return [row.record for row in rows], int(rows[0].total) if rows else 0
        return [], int(await connection.scalar(own_total(listing, username, dialect)) or 0)

    async def _seen(
        self, connection: AsyncConnection, username: str, instruments: Sequence[str], listing: Listing
    ) -> tuple[Sequence[str], int]:
        own = (
            await connection.scalars(select(members.c.proposal).where(members.c.username == username))
        ).all()
        index = await self._index.index(connection)
        page, total = index.find(listing, own=own, instruments=instruments)
        rows = await connection.execute(
            select(proposals.c.identifier, proposals.c.record).where(proposals.c.identifier.in_(page))
        )
        records = {row.identifier: row.record for row in rows}
        return [records[each] for each in page], total

    # --- one proposal

    async def proposal(self, identifier: str, viewer: str | None) -> Proposal:
        """Return a proposal that the viewer sees."""
        async with self._reading() as connection:
            record = await connection.scalar(select(proposals.c.record).where(*_visible(identifier, viewer)))
        if record is None:
            raise _absent()
        return Proposal.model_validate_json(record)

    async def folder_of(self, identifier: str, viewer: str) -> str | None:
        """Return the folder of a proposal that the viewer sees, links not yet followed."""
        async with self._reading() as connection:
            row = (
                await connection.execute(select(proposals.c.folder).where(*_visible(identifier, viewer)))
            ).first()
        if row is None:
            raise _absent()
        folder: str | None = row.folder
        return folder

    async def members(self, identifier: str, viewer: str | None) -> Page[Member]:
        """Return a proposal's members, then its instruments' other scientists: they see its data too."""
        own = (
            select(members.c.username, people.c.display_name, members.c.role)
            .join(people, people.c.username == members.c.username)
            .where(members.c.proposal == identifier)
            .order_by(members.c.position)
        )
        others = (
            select(scientists.c.username, people.c.display_name)
            .distinct()
            .join(sites, sites.c.instrument == scientists.c.instrument)
            .join(people, people.c.username == scientists.c.username)
            .where(sites.c.proposal == identifier)
            .order_by(people.c.display_name, scientists.c.username)
        )
        async with self._reading() as connection:
            await _require_visible(connection, identifier, viewer)
            team = [
                Member(username=row.username, display_name=row.display_name, role=MemberRole(row.role))
                for row in await connection.execute(own)
            ]
            known = {each.username for each in team}
            role = MemberRole.INSTRUMENT_SCIENTIST
            team += [
                Member(username=row.username, display_name=row.display_name, role=role)
                for row in await connection.execute(others)
                if row.username not in known
            ]
        return Page[Member](items=tuple(team), total=len(team))

    async def datasets(
        self, identifier: str, viewer: str | None, *, words: tuple[str, ...], offset: int, limit: int
    ) -> Page[Dataset]:
        """Return one page of a proposal's datasets, by name."""
        dialect = self._engine.dialect.name
        asked = and_(
            datasets.c.proposal == identifier,
            *(contains(datasets.c.text, word, dialect) for word in words),
        )
        page = (
            select(datasets.c.record)
            .where(asked)
            .order_by(datasets.c.name_key, datasets.c.pid)
            .limit(limit)
            .offset(offset)
        )
        async with self._reading() as connection:
            await _require_visible(connection, identifier, viewer)
            total = await connection.scalar(select(func.count()).select_from(datasets).where(asked))
            records = (await connection.scalars(page)).all()
        items = tuple(Dataset.model_validate_json(record) for record in records)
        return Page[Dataset](items=items, total=int(total or 0))


def _absent() -> NotFoundError:
    # One sentence for what is absent and what is forbidden.
    return NotFoundError("There is nothing here for you.")


def _visible(identifier: str, viewer: str | None) -> tuple[ColumnElement[bool], ...]:
    this = proposals.c.identifier == identifier
    if viewer is None:
        return (this,)
    is_member = exists().where(members.c.username == viewer, members.c.proposal == proposals.c.identifier)
    looks_after = exists().where(
        scientists.c.username == viewer,
        sites.c.instrument == scientists.c.instrument,
        sites.c.proposal == proposals.c.identifier,
    )
    return (this, or_(is_member, looks_after))


async def _require_visible(connection: AsyncConnection, identifier: str, viewer: str | None) -> None:
    statement: Select[Any] = select(proposals.c.identifier).where(*_visible(identifier, viewer))
    if (await connection.execute(statement)).first() is None:
        raise _absent()
