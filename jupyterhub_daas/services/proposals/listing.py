"""What is asked for of a person's proposals, and the queries of those that she is a member of.

These are few: they are found by membership and sorted as they come. Those of an instrument may be tens of
thousands, and are found by the index.
"""

from typing import Any

from sqlalchemy import Select, and_, exists, func, select
from sqlalchemy.sql.elements import ColumnElement

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.proposals import ProposalState
from jupyterhub_daas.services.proposals.tables import members, proposals, sites

SORT_COLUMNS = {
    "identifier": "identifier_key",
    "title": "title_key",
    "abstract": "abstract_key",
    "instrument": "instrument_key",
    "state": "state",
}


class Listing(Model):
    """What is asked for: all `words` occur; `identifiers` None means any."""

    words: tuple[str, ...] = ()
    instrument: str | None = None
    state: ProposalState | None = None
    identifiers: tuple[str, ...] | None = None
    column: str = "identifier_key"
    descending: bool = False
    offset: int = 0
    limit: int = 20


def contains(text: ColumnElement[str], word: str, dialect: str) -> ColumnElement[bool]:
    """Tell whether a text holds a word; no character of the word means anything else than itself."""
    position = func.strpos(text, word) if dialect == "postgresql" else func.instr(text, word)
    return position > 0


def own_page(listing: Listing, username: str, dialect: str) -> Select[Any]:
    """Select the records of a page of the proposals that a person is a member of, each with the total."""
    key, identifier = proposals.c[listing.column], proposals.c.identifier
    order = (key.desc(), identifier.desc()) if listing.descending else (key, identifier)
    found = _own(select(proposals.c.record, func.count().over().label("total")), listing, username, dialect)
    return found.order_by(*order).limit(listing.limit).offset(listing.offset)


def own_total(listing: Listing, username: str, dialect: str) -> Select[Any]:
    """Count them on all pages."""
    return _own(select(func.count()).select_from(proposals), listing, username, dialect)


def _own(statement: Select[Any], listing: Listing, username: str, dialect: str) -> Select[Any]:
    found = statement.join(members, members.c.proposal == proposals.c.identifier)
    found = found.where(members.c.username == username)
    if listing.state is not None:
        found = found.where(proposals.c.state == listing.state.value)
    if listing.identifiers is not None:
        found = found.where(proposals.c.identifier.in_(listing.identifiers))
    if listing.instrument is not None:
        at = and_(sites.c.instrument == listing.instrument, sites.c.proposal == proposals.c.identifier)
        found = found.where(exists().where(at))
    return found.where(*(contains(proposals.c.text, word, dialect) for word in listing.words))
