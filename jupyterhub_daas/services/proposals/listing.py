"""Which proposals a person sees, and which of them are asked for: the queries of the list.

An ordinary person's proposals are few: they are found by membership and sorted as they come. An instrument's
may be tens of thousands: a page of them is a walk along an index of each instrument, a search one pass over
its texts.
"""

from typing import Any

from sqlalchemy import Select, Subquery, and_, exists, func, select, union
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


class ListingQuery:
    """Build the statements for one person: `instruments` are those that the person is a scientist of."""

    def __init__(self, listing: Listing, username: str, instruments: tuple[str, ...], dialect: str) -> None:
        self._listing = listing
        self._username = username
        self._dialect = dialect
        # All that is seen at one's own instrument is at that instrument: the others need no look.
        chosen = listing.instrument
        self._instruments = (chosen,) if chosen in instruments and chosen is not None else instruments

    @property
    def walks(self) -> bool:
        """Tell whether the page is a walk along indexes, and the total a statement of its own."""
        return bool(self._instruments) and not self._listing.words and self._listing.identifiers is None

    def page(self) -> Select[Any]:
        """Select the records of the page; without walking, each with the total."""
        found = self._found()
        total = func.count().over() if not self.walks else None
        chosen = select(found, *([] if total is None else [total.label("total")]))
        page = chosen.order_by(*self._order(found)).limit(self._listing.limit).offset(self._listing.offset)
        place = page.subquery("page")
        columns = [proposals.c.record, *([] if total is None else [place.c.total])]
        joined = select(*columns).join(place, place.c.identifier == proposals.c.identifier)
        return joined.order_by(*self._order(place))

    def total(self) -> Select[Any]:
        """Count all that is asked for."""
        if len(self._instruments) != 1:
            parts = [self._own().with_only_columns(proposals.c.identifier)]
            if self._instruments:
                at_any = self._at(self._instruments[0]).with_only_columns(sites.c.proposal)
                parts += [
                    at_any,
                    *(self._at(each).with_only_columns(sites.c.proposal) for each in self._instruments[1:]),
                ]
            return select(func.count()).select_from(union(*parts).subquery())
        # The common case: no need to compare tens of thousands with each other.
        here = self._instruments[0]
        elsewhere = self._own().where(~_is_at(proposals.c.identifier, here))
        return select(
            select(func.count()).select_from(self._at(here).subquery()).scalar_subquery()
            + select(func.count()).select_from(elsewhere.subquery()).scalar_subquery()
        )

    def _found(self) -> Subquery:
        if not self._instruments:
            return self._own().subquery("found")
        parts = [self._at(each) for each in self._instruments]
        if self.walks:
            reach = self._listing.offset + self._listing.limit
            ordered = [part.order_by(*self._order(part.selected_columns)).limit(reach) for part in parts]
            parts = [select(part.subquery()) for part in ordered]
        return union(self._own(), *parts).subquery("found")

    def _order(self, columns: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        names = columns.c if isinstance(columns, Subquery) else columns
        key, identifier = names["sort_key"], names["identifier"]
        return (key.desc(), identifier.desc()) if self._listing.descending else (key, identifier)

    def _own(self) -> Select[Any]:
        key = proposals.c[self._listing.column].label("sort_key")
        statement = (
            select(proposals.c.identifier.label("identifier"), key)
            .join(members, members.c.proposal == proposals.c.identifier)
            .where(members.c.username == self._username)
        )
        return self._filtered(statement, proposals.c.identifier, proposals.c)

    def _at(self, instrument: str) -> Select[Any]:
        key = sites.c[self._listing.column].label("sort_key")
        statement = select(sites.c.proposal.label("identifier"), key).where(sites.c.instrument == instrument)
        return self._filtered(statement, sites.c.proposal, sites.c, at=instrument)

    def _filtered(
        self, statement: Select[Any], identifier: ColumnElement[str], columns: Any, at: str | None = None
    ) -> Select[Any]:
        listing = self._listing
        if listing.state is not None:
            statement = statement.where(columns.state == listing.state.value)
        if listing.identifiers is not None:
            statement = statement.where(identifier.in_(listing.identifiers))
        if listing.instrument not in (None, at):
            statement = statement.where(_is_at(identifier, listing.instrument))
        return statement.where(*(contains(columns.text, word, self._dialect) for word in listing.words))


def _is_at(identifier: ColumnElement[str], instrument: str | None) -> ColumnElement[bool]:
    other = sites.alias()
    return exists().where(and_(other.c.instrument == instrument, other.c.proposal == identifier))
