"""What the index and the tables find is what looking at each proposal finds."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from jupyterhub_daas.core.people import Person
from jupyterhub_daas.core.proposals import Instrument, MemberRole, Proposal, ProposalState
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.errors import UpstreamUnavailableError
from jupyterhub_daas.services.proposals.connectors.base import (
    InstrumentEntry,
    PersonEntry,
    ProposalEntry,
    Snapshot,
)
from jupyterhub_daas.services.proposals.folding import words
from jupyterhub_daas.services.proposals.listing import SORT_COLUMNS, Listing
from jupyterhub_daas.services.proposals.loading import Order, load
from jupyterhub_daas.services.proposals.rows import proposal_row
from jupyterhub_daas.services.proposals.search_index import Entry, ProposalIndex, build_parts
from jupyterhub_daas.services.proposals.snapshots import write_snapshot
from jupyterhub_daas.services.proposals.store import DirectoryStore
from jupyterhub_daas.services.proposals.tables import index_parts

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
INSTRUMENTS = [
    Instrument(name=name, title=title) for name, title in (("id2", "ID2"), ("id16", "Nano β"), ("b", "B"))
]
STATES = tuple(ProposalState)

# Few letters, so that words are found; among them wide ones, folded ones and what is special elsewhere.
texts = st.text("aab bé ßΩ😀1%_'\n", max_size=25)
proposals = st.builds(
    Proposal,
    identifier=st.text("aB19-_", min_size=1, max_size=4).map("P{}".format),
    title=texts.filter(str.strip),
    abstract=texts,
    instruments=st.lists(st.sampled_from(INSTRUMENTS), unique=True, max_size=3).map(tuple),
    state=st.sampled_from(STATES),
)
facilities = st.lists(proposals, max_size=40, unique_by=lambda each: each.identifier)
listings = st.builds(
    Listing,
    words=st.lists(st.text("abéßΩ😀1%_'p", min_size=1, max_size=4), max_size=2).map(" ".join).map(words),
    instrument=st.sampled_from([None, None, "id2", "b", "none"]),
    state=st.sampled_from([None, None, *STATES]),
    identifiers=st.none() | st.lists(st.sampled_from(["Pa", "P1", "P9", "PB", "none"])).map(tuple),
    column=st.sampled_from(sorted(SORT_COLUMNS.values())),
    descending=st.booleans(),
    offset=st.integers(0, 12),
    limit=st.integers(1, 12),
)
people = st.sets(st.sampled_from([each.name for each in INSTRUMENTS]))


def row_of(proposal: Proposal) -> dict[str, Any]:
    """Return the row of a proposal, with all that is searched and sorted by."""
    return proposal_row(ProposalEntry(proposal=proposal, members=(), datasets=(), folder=None), "")


def naive(
    facility: Iterable[Proposal], listing: Listing, *, own: Iterable[str], instruments: Iterable[str]
) -> tuple[list[str], int]:
    """Look at each proposal."""
    found = []
    for each in facility:
        row, at = row_of(each), {place.name for place in each.instruments}
        if (
            (each.identifier in set(own) or at & set(instruments))
            and (listing.state is None or each.state is listing.state)
            and (listing.instrument is None or listing.instrument in at)
            and (listing.identifiers is None or each.identifier in listing.identifiers)
            and all(word in row["text"] for word in listing.words)
        ):
            found.append((row[listing.column], each.identifier))
    found.sort(reverse=listing.descending)
    page = found[listing.offset : listing.offset + listing.limit]
    return [identifier for _, identifier in page], len(found)


def index_of(facility: Iterable[Proposal]) -> ProposalIndex:
    """Return the index of a facility."""
    entries = [
        Entry(
            identifier=each.identifier,
            state=each.state.value,
            text=row_of(each)["text"],
            instruments=tuple(place.name for place in each.instruments),
            keys=row_of(each),
        )
        for each in sorted(facility, key=lambda each: each.identifier)
    ]
    return ProposalIndex("", build_parts(entries))


@settings(max_examples=400, deadline=None)
@given(
    facility=facilities,
    listing=listings,
    instruments=people,
    own=st.sets(st.sampled_from(["Pa", "P1", "none"])),
)
def test_finds_what_looking_at_each_finds(
    facility: list[Proposal], listing: Listing, instruments: set[str], own: set[str]
) -> None:
    found = index_of(facility).find(listing, own=own, instruments=instruments)
    assert found == naive(facility, listing, own=own, instruments=instruments)


@settings(max_examples=100, deadline=None)
@given(facility=facilities.filter(bool), data=st.data())
def test_finds_each_part_of_each_word(facility: list[Proposal], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(row_of(data.draw(st.sampled_from(facility)))["text"].split()))
    start = data.draw(st.integers(0, len(word) - 1))
    part = word[start : data.draw(st.integers(start + 1, len(word)))]
    names = [each.name for each in INSTRUMENTS]
    found, total = index_of(facility).find(Listing(words=(part,), limit=100), own=(), instruments=names)
    assert (found, total) == naive(facility, Listing(words=(part,), limit=100), own=(), instruments=names)


# --- on both databases


def snapshot_of(facility: Sequence[Proposal]) -> Snapshot:
    """Return a snapshot with ann on every third proposal; cas, on the others, looks after two instruments."""
    return Snapshot(
        people=tuple(
            PersonEntry(person=Person(username=name, uid=5, gid=5), identities=()) for name in ("ann", "cas")
        ),
        instruments=tuple(
            InstrumentEntry(instrument=each, scientists=("cas",) if each.name != "b" else ())
            for each in INSTRUMENTS
        ),
        proposals=tuple(
            ProposalEntry(
                proposal=each,
                members=(("ann", MemberRole.MEMBER),) if number % 3 == 0 else (("cas", MemberRole.MEMBER),),
                datasets=(),
                folder=None,
            )
            for number, each in enumerate(facility)
        ),
    )


def example(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return examples that are the same at each run."""
    found: list[Any] = []

    @settings(max_examples=count, derandomize=True, deadline=None, database=None)
    @given(strategy)
    def note(each: Any) -> None:
        found.append(each)

    note()
    return found


async def test_both_databases_answer_alike(engine: AsyncEngine) -> None:
    await upgrade(engine, "proposals")
    facility = max(example(facilities, 60), key=len)
    await write_snapshot(engine, snapshot_of(facility), fingerprint="f", read_at=NOW)
    store = DirectoryStore(engine)
    ann = {each.identifier for each in facility[::3]}
    cas = {each.identifier for each in facility} - ann
    for listing in example(listings, 150):
        for username, own, instruments in (("ann", ann, ()), ("cas", cas, ("id2", "id16"))):
            page = await store.proposals_of(username, listing)
            answer = [each.identifier for each in page.items], page.total
            assert answer == naive(facility, listing, own=own, instruments=instruments), (username, listing)


async def test_an_index_that_lacks_is_made_although_the_directory_cannot_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/daas.sqlite"
    engine = create_engine(url)
    await upgrade(engine, "proposals")
    facility = [Proposal(identifier="P", title="Zinc", instruments=tuple(INSTRUMENTS))]
    await write_snapshot(engine, snapshot_of(facility), fingerprint="f", read_at=NOW)
    async with engine.begin() as connection:
        await connection.execute(delete(index_parts))
    store = DirectoryStore(engine)
    with pytest.raises(UpstreamUnavailableError):
        await store.proposals_of("cas", Listing())
    broken = tmp_path / "facility.yaml"
    broken.write_text("proposals: [")
    outcome = await load(Order(database_url=url, connector="file", file=str(broken), roots=()))
    assert outcome.error is not None
    assert (await store.proposals_of("cas", Listing(words=("zin",)))).total == 1
    await engine.dispose()
