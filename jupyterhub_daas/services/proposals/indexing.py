"""Keep the index of all proposals beside them: written with a snapshot, and read once for each."""

import asyncio
import secrets

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.database.engine import writing
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.proposals.search_index import Entry, ProposalIndex, build_parts
from jupyterhub_daas.services.proposals.tables import SORT_KEYS, index_parts, proposals, sites, snapshots

# The part that tells one index from another.
VERSION = "version"


async def write_index(connection: AsyncConnection) -> None:
    """Replace the index by that of the proposals which this transaction sees."""
    at: dict[str, list[str]] = {}
    for row in await connection.execute(select(sites.c.proposal, sites.c.instrument)):
        at.setdefault(row.proposal, []).append(row.instrument)
    columns = (
        proposals.c.identifier,
        proposals.c.state,
        proposals.c.text,
        *(proposals.c[key] for key in SORT_KEYS),
    )
    found = await connection.stream(select(*columns))
    entries = [
        Entry(
            identifier=row.identifier,
            state=row.state,
            text=row.text,
            instruments=tuple(at.get(row.identifier, ())),
            keys={key: row._mapping[key] for key in SORT_KEYS},
        )
        async for row in found
    ]
    # Here, and not by the database: it must be the order in which Python looks for one of them.
    entries.sort(key=lambda entry: entry.identifier)
    parts = {**build_parts(entries), VERSION: secrets.token_hex(16).encode()}
    await connection.execute(delete(index_parts))
    for part, content in parts.items():
        await connection.execute(insert(index_parts).values(part=part, content=content))


async def complete_index(engine: AsyncEngine) -> None:
    """Write the index of a snapshot that has none: it was written by an earlier version."""
    async with writing(engine) as connection:
        has_snapshot = await connection.scalar(select(snapshots.c.id)) is not None
        if has_snapshot and await _version(connection) is None:
            await write_index(connection)


class IndexReader:
    """Hold the index of the newest snapshot that was asked for."""

    def __init__(self) -> None:
        self._index: ProposalIndex | None = None
        self._reading = asyncio.Lock()

    async def index(self, connection: AsyncConnection) -> ProposalIndex:
        """Return the index of the snapshot that this transaction sees."""
        version = await _version(connection)
        if version is None:
            raise UpstreamUnavailableError(
                "The facility's directory is not there yet. Please try again in a minute.",
                service="proposals",
            )
        async with self._reading:
            if self._index is None or self._index.version != version:
                rows = (await connection.execute(select(index_parts.c.part, index_parts.c.content))).all()
                self._index = ProposalIndex(version, {row.part: row.content for row in rows})
            return self._index


async def _version(connection: AsyncConnection) -> str | None:
    found = await connection.scalar(select(index_parts.c.content).where(index_parts.c.part == VERSION))
    return None if found is None else bytes(found).decode()
