"""What a connector owes: the whole directory of a facility at one moment, or an error that names its place.

A connector is read in a process of its own and may take minutes; asking for its fingerprint must be cheap.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import Dataset, Instrument, MemberRole, Proposal
from jupyterhub_daas.errors import UpstreamAnswerError


class DirectoryError(UpstreamAnswerError):
    """Refuse a directory: the message names each wrong place, `line` the first one's if it has one."""

    code: ClassVar[str] = "directory_invalid"

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message, service="directory")
        self.line = line


@dataclass(frozen=True)
class PersonEntry:
    """A person and the identities that the facility linked to them."""

    person: Person
    identities: tuple[Identity, ...] = ()


@dataclass(frozen=True)
class InstrumentEntry:
    """An instrument and its scientists, who may see all its proposals."""

    instrument: Instrument
    scientists: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProposalEntry:
    """A proposal with its team and data; `folder` is absolute, links not yet followed."""

    proposal: Proposal
    members: tuple[tuple[str, MemberRole], ...] = ()
    datasets: tuple[Dataset, ...] = ()
    folder: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """The directory at one moment; every name in it refers to something in it."""

    people: tuple[PersonEntry, ...]
    instruments: tuple[InstrumentEntry, ...]
    proposals: tuple[ProposalEntry, ...]


class Connector(ABC):
    """Read a facility's people, instruments and proposals from where the facility keeps them."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that differs when the source changed; raise DirectoryError if there is none."""

    @abstractmethod
    def read(self) -> Snapshot:
        """Return everything; raise DirectoryError if anything in it is wrong."""
