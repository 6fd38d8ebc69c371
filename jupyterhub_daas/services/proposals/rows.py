"""Entries of a snapshot as rows of the tables. A row's digest tells whether its entry changed."""

import hashlib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from jupyterhub_daas.services.proposals.connectors.base import InstrumentEntry, PersonEntry, ProposalEntry
from jupyterhub_daas.services.proposals.folding import ABSTRACT_KEY, TITLE_KEY, fold, natural_key

# Part of every digest: raise it when rows are made in another way, and all are written anew.
FORM = "2"

Row = dict[str, Any]


def digest_of(*parts: object) -> str:
    """Return the digest of an entry's parts."""
    text = "\0".join(part.model_dump_json() if isinstance(part, BaseModel) else str(part) for part in parts)
    return hashlib.blake2b(f"{FORM}\0{text}".encode(), digest_size=16).hexdigest()


def person_row(entry: PersonEntry) -> Row:
    """Return the row of a person."""
    return {
        "username": entry.person.username,
        "display_name": entry.person.display_name,
        "record": entry.person.model_dump_json(),
        "digest": digest_of(entry.person, *entry.identities),
    }


def identity_rows(entry: PersonEntry) -> Iterable[Row]:
    """Return the rows of a person's identities."""
    return ({**each.model_dump(), "username": entry.person.username} for each in entry.identities)


def instrument_row(entry: InstrumentEntry) -> Row:
    """Return the row of an instrument."""
    return {"name": entry.instrument.name, "digest": digest_of(entry.instrument, *entry.scientists)}


def scientist_rows(entry: InstrumentEntry) -> Iterable[Row]:
    """Return the rows of an instrument's scientists."""
    return ({"username": username, "instrument": entry.instrument.name} for username in entry.scientists)


def proposal_digest(entry: ProposalEntry) -> str:
    """Return the digest of a proposal with its team and data."""
    return digest_of(entry.proposal, entry.folder, entry.members, *entry.datasets)


def proposal_row(entry: ProposalEntry, digest: str) -> Row:
    """Return the row of a proposal."""
    proposal = entry.proposal
    places = [f"{each.name} {each.title}" for each in proposal.instruments]
    title, abstract = fold(proposal.title), fold(proposal.abstract)
    return {
        "identifier": proposal.identifier,
        "state": proposal.state.value,
        "identifier_key": natural_key(proposal.identifier),
        "title_key": title[:TITLE_KEY],
        "abstract_key": abstract[:ABSTRACT_KEY],
        "instrument_key": natural_key(" ".join(each.name for each in proposal.instruments)),
        # One line each: no word is found across two of them.
        "text": "\n".join([fold(proposal.identifier), title, abstract, *map(fold, places)]),
        "folder": entry.folder,
        "record": proposal.model_dump_json(),
        "digest": digest,
    }


def site_rows(entry: ProposalEntry) -> Iterable[Row]:
    """Return the rows of a proposal at its instruments."""
    for instrument in entry.proposal.instruments:
        yield {"instrument": instrument.name, "proposal": entry.proposal.identifier}


def member_rows(entry: ProposalEntry) -> Iterable[Row]:
    """Return the rows of a proposal's members."""
    for position, (username, role) in enumerate(entry.members):
        yield {
            "username": username,
            "proposal": entry.proposal.identifier,
            "role": role.value,
            "position": position,
        }


def dataset_rows(entry: ProposalEntry) -> Iterable[Row]:
    """Return the rows of a proposal's datasets."""
    for dataset in entry.datasets:
        yield {
            "proposal": entry.proposal.identifier,
            "pid": dataset.pid,
            "name_key": natural_key(dataset.name),
            "text": "\n".join(map(fold, (dataset.pid, dataset.name, dataset.path))),
            "record": dataset.model_dump_json(),
        }
