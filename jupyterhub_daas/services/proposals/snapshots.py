"""Write a snapshot over the one before it: what changed only, in one transaction.

Readers see the one or the other, never something between; if anything fails, the one before stays.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import Table, bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from jupyterhub_daas.database.engine import writing
from jupyterhub_daas.services.proposals import rows
from jupyterhub_daas.services.proposals.connectors.base import (
    InstrumentEntry,
    PersonEntry,
    ProposalEntry,
    Snapshot,
)
from jupyterhub_daas.services.proposals.indexing import write_index
from jupyterhub_daas.services.proposals.tables import (
    datasets,
    identities,
    instruments,
    members,
    people,
    proposals,
    scientists,
    sites,
    snapshots,
)

BATCH = 2000
# So many changes make the planner's statistics wrong.
MANY_CHANGES = 1000
TABLES = (snapshots, people, identities, instruments, scientists, proposals, members, sites, datasets)

AnyEntry = TypeVar("AnyEntry")


async def write_snapshot(
    engine: AsyncEngine, snapshot: Snapshot, *, fingerprint: str, read_at: datetime
) -> int:
    """Replace the snapshot; return how many entries were written or taken away."""
    async with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            # Two writers would each delete what the other wrote; readers are not held up.
            await connection.execute(text(f"LOCK TABLE {snapshots.name} IN EXCLUSIVE MODE"))
        changes = await _write_people(connection, snapshot.people)
        changes += await _write_instruments(connection, snapshot.instruments)
        if changed := await _write_proposals(connection, snapshot.proposals):
            await write_index(connection)
        changes += changed
        await connection.execute(delete(snapshots))
        await connection.execute(
            insert(snapshots).values(
                id=1,
                fingerprint=fingerprint,
                read_at=read_at,
                people=len(snapshot.people),
                instruments=len(snapshot.instruments),
                proposals=len(snapshot.proposals),
            )
        )
    if changes >= MANY_CHANGES:
        await _refresh_statistics(engine)
    return changes


async def _refresh_statistics(engine: AsyncEngine) -> None:
    command = "VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in TABLES:
            await connection.execute(text(f"{command} {table.name}"))


async def _write_people(connection: AsyncConnection, entries: Iterable[PersonEntry]) -> int:
    new = {row["username"]: (row["digest"], entry) for entry in entries for row in [rows.person_row(entry)]}
    changed, gone = await _compare(connection, people, "username", new)
    await _take_away(connection, gone, {people: "username", identities: "username"})
    await _add(connection, people, map(rows.person_row, changed))
    await _add(connection, identities, (row for each in changed for row in rows.identity_rows(each)))
    return max(len(changed), len(gone))


async def _write_instruments(connection: AsyncConnection, entries: Iterable[InstrumentEntry]) -> int:
    new = {row["name"]: (row["digest"], entry) for entry in entries for row in [rows.instrument_row(entry)]}
    changed, gone = await _compare(connection, instruments, "name", new)
    await _take_away(connection, gone, {instruments: "name", scientists: "instrument"})
    await _add(connection, instruments, map(rows.instrument_row, changed))
    await _add(connection, scientists, (row for each in changed for row in rows.scientist_rows(each)))
    return max(len(changed), len(gone))


async def _write_proposals(connection: AsyncConnection, entries: Iterable[ProposalEntry]) -> int:
    new = {entry.proposal.identifier: (rows.proposal_digest(entry), entry) for entry in entries}
    changed, gone = await _compare(connection, proposals, "identifier", new)
    places = {proposals: "identifier", members: "proposal", sites: "proposal", datasets: "proposal"}
    await _take_away(connection, gone, places)
    for batch in _batches(changed):
        main = [rows.proposal_row(each, new[each.proposal.identifier][0]) for each in batch]
        await _add(connection, proposals, main)
        await _add(connection, sites, (row for each in batch for row in rows.site_rows(each)))
        await _add(connection, members, (row for each in batch for row in rows.member_rows(each)))
        await _add(connection, datasets, (row for each in batch for row in rows.dataset_rows(each)))
    return max(len(changed), len(gone))


async def _compare(
    connection: AsyncConnection, table: Table, key: str, new: Mapping[str, tuple[str, AnyEntry]]
) -> tuple[list[AnyEntry], list[str]]:
    """Return the entries that are new or different, and the keys whose rows must go."""
    result = await connection.execute(select(table.c[key], table.c.digest))
    old: dict[str, str] = {row[0]: row[1] for row in result}
    changed = [entry for name, (digest, entry) in new.items() if old.get(name) != digest]
    gone = [name for name, digest in old.items() if name not in new or new[name][0] != digest]
    return changed, gone


async def _take_away(connection: AsyncConnection, keys: list[str], places: Mapping[Table, str]) -> None:
    for batch in _batches(keys):
        for table, column in places.items():
            statement = delete(table).where(table.c[column] == bindparam("key"))
            await connection.execute(statement, [{"key": key} for key in batch])


async def _add(connection: AsyncConnection, table: Table, new: Iterable[rows.Row]) -> None:
    for batch in _batches(new):
        await connection.execute(insert(table), batch)


def _batches(items: Iterable[AnyEntry]) -> Iterator[list[AnyEntry]]:
    remaining = iter(items)
    while batch := list(islice(remaining, BATCH)):
        yield batch
