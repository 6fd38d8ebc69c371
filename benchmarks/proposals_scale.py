"""The proposals service's queries at a facility of ten proposals and at one of 100 000, in one run.

Run it as ``python -m benchmarks.proposals_scale``, with ``--postgresql`` on a private PostgreSQL instead of
SQLite. With ``--file`` the large facility is also written as YAML and read as the service does.
"""

import argparse
import asyncio
import contextlib
import random
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.measuring import median, report
from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import (
    Dataset,
    DatasetState,
    Instrument,
    MemberRole,
    Proposal,
    ProposalState,
)
from jupyterhub_daas.database.engine import create_engine
from jupyterhub_daas.database.migrate import upgrade
from jupyterhub_daas.services.proposals.connectors.base import (
    InstrumentEntry,
    PersonEntry,
    ProposalEntry,
    Snapshot,
)
from jupyterhub_daas.services.proposals.folding import words
from jupyterhub_daas.services.proposals.listing import SORT_COLUMNS, Listing
from jupyterhub_daas.services.proposals.loading import Order
from jupyterhub_daas.services.proposals.snapshots import write_snapshot
from jupyterhub_daas.services.proposals.store import DirectoryStore
from jupyterhub_daas.services.proposals.watching import run_reader
from tests.support.postgres import private_postgres

SMALL = (10, 20)
LARGE = (100_000, 20_000)
INSTRUMENTS = 40
MEMBER_OF = 10
ISSUER = "https://umbrella.example"
STATES = tuple(ProposalState)
Query = Callable[[], Awaitable[object]]
Figures = dict[str, dict[str, float]]


def vocabulary() -> list[str]:
    """Return words that are the same at each run; the first ones are common."""
    choose = random.Random(1)
    return ["".join(choose.choices("aeiouüébcdfghklmnprst", k=choose.randint(3, 11))) for _ in range(4000)]


def snapshot_of(proposals: int, people: int) -> Snapshot:
    """Make a facility; a third of its proposals is at instrument i0, whose scientist is u1.

    Person u0 is a member of the same ten proposals at every size, and nobody else has more than that many.
    """
    choose, known = random.Random(2), vocabulary()
    instruments = [Instrument(name=f"i{n}", title=f"I{n} Imaging") for n in range(INSTRUMENTS)]

    def text(length: int) -> str:
        return " ".join(
            known[choose.randrange(40 if choose.random() < 0.3 else len(known))] for _ in range(length)
        )

    def entry(number: int) -> ProposalEntry:
        at = [instruments[0 if number % 3 == 0 else 1 + number % (INSTRUMENTS - 1)]]
        if number % 10 == 0:
            at.append(instruments[1])
        team = {f"u{2 + (number * 7 + each) % (people - 2)}": MemberRole.MEMBER for each in range(4)}
        if number < MEMBER_OF:
            team["u0"] = MemberRole.PRINCIPAL_INVESTIGATOR
        identifier = f"{20000000 + number}"
        return ProposalEntry(
            proposal=Proposal(
                identifier=identifier,
                title=text(8),
                abstract=text(70),
                instruments=tuple(dict.fromkeys(at)),
                state=STATES[number % 4],
            ),
            members=tuple(team.items()),
            datasets=tuple(
                Dataset(
                    pid=f"10.5072/{identifier}.{each}",
                    name=f"Scan {each}",
                    path=f"raw/scan-{each}.h5",
                    state=DatasetState.ONLINE,
                )
                for each in range(3)
            ),
            folder=f"/data/{identifier}",
        )

    return Snapshot(
        people=tuple(
            PersonEntry(
                person=Person(username=f"u{n}", uid=20000 + n, gid=20000, display_name=f"Person {n}"),
                identities=(Identity(issuer=ISSUER, subject=f"{n:032x}"),),
            )
            for n in range(people)
        ),
        instruments=tuple(
            InstrumentEntry(instrument=each, scientists=("u1",) if each.name in ("i0", "i1") else ())
            for each in instruments
        ),
        proposals=tuple(entry(number) for number in range(proposals)),
    )


def queries(store: DirectoryStore) -> Iterator[tuple[str, Query]]:
    """Yield what the routes ask, for a member (u0) and for the scientist of two large instruments (u1)."""
    known = vocabulary()

    def listed(username: str, **given: Any) -> Query:
        return lambda: store.proposals_of(username, Listing(**given))

    yield "person", lambda: store.person("u0")
    yield "identity", lambda: store.person_of(Identity(issuer=ISSUER, subject=f"{0:032x}"))
    yield "proposal", lambda: store.proposal("20000003", "u0")
    yield "members", lambda: store.members("20000003", "u0")
    yield "datasets", lambda: store.datasets("20000003", "u0", words=("scan",), offset=0, limit=20)
    yield "mounts", lambda: store.folder_of("20000003", "u0")
    for who, username in (("member", "u0"), ("scientist", "u1")):
        for name, column in SORT_COLUMNS.items():
            yield f"{who}: list by {name}", listed(username, column=column, descending=True)
        yield f"{who}: in one state", listed(username, state=STATES[1], column="title_key")
        yield f"{who}: at one instrument", listed(username, instrument="i0")
        yield f"{who}: some identifiers", listed(username, identifiers=("20000003", "20000004"))
        yield f"{who}: search, common word", listed(username, words=words(known[3]))
        yield f"{who}: search, rare word", listed(username, words=words(known[2000]), column="title_key")
        yield f"{who}: search, nothing found", listed(username, words=("zzzz",))
    yield "scientist: search, one letter", listed("u1", words=("e",))
    yield "scientist: search, part of many words", listed("u1", words=(known[3][:3],), column="title_key")
    yield (
        "scientist: search, two words, one state",
        listed("u1", words=words(f"{known[3]} {known[5]}"), state=STATES[2]),
    )
    yield (
        "scientist: search, page in the middle",
        listed("u1", words=words(known[3]), offset=5000, column="title_key"),
    )
    yield "scientist: page in the middle", listed("u1", offset=15_000, column="title_key")


async def prepared(size: tuple[int, int], engine: AsyncEngine) -> tuple[DirectoryStore, dict[str, float]]:
    """Write a facility of this size to an empty database; return its store and the writing's seconds."""
    snapshot = snapshot_of(*size)
    await upgrade(engine, "proposals")
    writing = {}
    for name in ("first", "unchanged"):
        begin = time.perf_counter()
        await write_snapshot(engine, snapshot, fingerprint=f"{size}", read_at=datetime.now(timezone.utc))
        writing[name] = round(time.perf_counter() - begin, 2)
    return DirectoryStore(engine), writing


async def time_of(query: Query) -> float:
    """Return the time of a query in milliseconds."""
    begin = time.perf_counter()
    await query()
    return 1000 * (time.perf_counter() - begin)


async def compare(small: DirectoryStore, large: DirectoryStore, rounds: int) -> Figures:
    """Ask both in turn: what else the machine does then meets both alike. First answers don't count."""
    figures = {}
    for (name, ask_small), (_, ask_large) in zip(queries(small), queries(large), strict=True):
        pairs = [(await time_of(ask_small), await time_of(ask_large)) for _ in range(rounds + 1)][1:]
        ours, theirs = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
        figures[name] = {"small_ms": ours, "large_ms": theirs, "ratio": round(theirs / ours, 2)}
    return figures


async def measure(urls: tuple[str, str], rounds: int) -> tuple[Figures, dict[str, float]]:
    """Compare a small and a large facility in two empty databases; return also the large one's writing."""
    engines = [create_engine(url) for url in urls]
    try:
        small, _ = await prepared(SMALL, engines[0])
        large, writing = await prepared(LARGE, engines[1])
        return await compare(small, large, rounds), writing
    finally:
        for engine in engines:
            await engine.dispose()


def write_yaml(path: Path, snapshot: Snapshot) -> None:
    """Write a facility as the connector *file* reads it."""
    sections: dict[str, dict[str, Any]] = {
        "instruments": {
            each.instrument.name: {"title": each.instrument.title, "scientists": list(each.scientists)}
            for each in snapshot.instruments
        },
        "people": {
            each.person.username: {
                **each.person.model_dump(mode="json", include={"uid", "gid", "display_name"}),
                "identities": [identity.model_dump() for identity in each.identities],
            }
            for each in snapshot.people
        },
        "proposals": {
            each.proposal.identifier: {
                **each.proposal.model_dump(mode="json", include={"title", "abstract", "state"}),
                "instruments": [instrument.name for instrument in each.proposal.instruments],
                "folder": each.proposal.identifier,
                "members": {username: role.value for username, role in each.members},
                "datasets": [dataset.model_dump(mode="json") for dataset in each.datasets],
            }
            for each in snapshot.proposals
        },
    }
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(sections, file, Dumper=yaml.CSafeDumper, allow_unicode=True)


def peak_memory_of_children() -> int:
    """Return the most kilobytes that a child of this process has held."""
    peak = 0
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            # It may end while it is looked at.
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                peak = max(peak, int(found[1]) if found else 0)
    return peak


async def read_file(folder: Path, snapshot: Snapshot) -> dict[str, float]:
    """Have the service's reader read a facility from a file; return seconds and megabytes."""
    path = folder / "facility.yaml"
    write_yaml(path, snapshot)
    url = f"sqlite:///{folder}/read.sqlite"
    engine = create_engine(url)
    await upgrade(engine, "proposals")
    await engine.dispose()
    order = Order(database_url=url, connector="file", file=str(path), roots=(str(folder),))
    begin = time.perf_counter()
    reading = asyncio.ensure_future(run_reader(order))
    peak = 0
    while not (await asyncio.wait([reading], timeout=0.2))[0]:
        peak = max(peak, peak_memory_of_children())
    outcome = reading.result()
    seconds = time.perf_counter() - begin
    if outcome.error is not None:
        raise RuntimeError(outcome.error)
    return {
        "file_megabytes": round(path.stat().st_size / 1e6, 1),
        "seconds": round(seconds, 1),
        "peak_megabytes": round(peak / 1024, 1),
        "database_megabytes": round((folder / "read.sqlite").stat().st_size / 1e6, 1),
    }


def summary(figures: Figures) -> tuple[str, dict[str, Any]]:
    """Return the sentence and the figures."""
    told, content = [], {"queries": figures}
    for who in ("member", "scientist"):
        own = {
            name: each
            for name, each in figures.items()
            if name.startswith("scientist") == (who == "scientist")
        }
        slowest = max(own, key=lambda name: own[name]["ratio"])
        middle, worst = median([each["ratio"] for each in own.values()]), own[slowest]
        content[who] = {"ratio_median": middle, "ratio_max": worst["ratio"], "slowest": slowest}
        told.append(
            f"answers to a {who} take {middle} times as long at the large facility, at most {worst['ratio']} "
            f"times ({slowest}: {worst['large_ms']} ms against {worst['small_ms']} ms)"
        )
    return "; ".join(told), content


async def run(rounds: int, with_file: bool, urls: tuple[str, str] | None) -> None:
    """Measure and print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        own = (f"sqlite:///{name}/small.sqlite", f"sqlite:///{name}/large.sqlite")
        measured, writing = await measure(urls or own, rounds)
        sentence, figures = summary(measured)
        figures["database"] = "sqlite" if urls is None else "postgresql"
        figures["writing_seconds"] = writing
        if with_file:
            figures["reading"] = await read_file(Path(name), snapshot_of(*LARGE))
    report("proposals_scale", sentence, figures)


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--postgresql", action="store_true", help="on a private PostgreSQL instead of SQLite")
    parser.add_argument(
        "--file", action="store_true", help="also write the large facility as YAML and read it"
    )
    given = parser.parse_args()
    if not given.postgresql:
        asyncio.run(run(given.rounds, given.file, None))
        return
    with private_postgres() as server:
        urls = (server.create_database("small"), server.create_database("large"))
        asyncio.run(run(given.rounds, given.file, urls))


if __name__ == "__main__":
    main()
