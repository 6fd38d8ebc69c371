"""The connector *file*: a facility directory as one YAML file.

The models ending in `InFile` are the file's schema. A time without zone is UTC. Paths are checked against the
configured roots, with links followed; a folder may belong to one proposal only.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Identifier, Slug, Username
from jupyterhub_daas.core.people import Identity, Person
from jupyterhub_daas.core.proposals import (
    Dataset,
    DatasetState,
    Experiment,
    Instrument,
    MemberRole,
    Proposal,
    ProposalState,
)
from jupyterhub_daas.services.proposals.connectors.base import (
    Connector,
    DirectoryError,
    InstrumentEntry,
    PersonEntry,
    ProposalEntry,
    Snapshot,
)
from jupyterhub_daas.services.proposals.connectors.documents import Entry, read_entries
from jupyterhub_daas.services.proposals.roots import OutsideRootsError, Roots, clean

MAX_ERRORS = 10
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ZONE = re.compile(r"(Z|z|[+-]\d\d:?\d\d)$", re.ASCII)
# Line ends and tabs are text; a null is none to PostgreSQL.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _with_zone(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if _DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    return text if _ZONE.search(text) else f"{text}Z"


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not hold control characters")
    return text


def _plain_path(text: str) -> str:
    clean(text)
    return text


InUtc = Annotated[Moment, BeforeValidator(_with_zone)]
Text = Annotated[str, AfterValidator(_printable)]


def _relative_path(text: str) -> str:
    if clean(text).startswith("/"):
        raise ValueError("must be relative to the proposal's folder")
    return text


PlainPath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_plain_path)]
RelativePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_relative_path)]
Found = TypeVar("Found", bound="_InFile")


class _InFile(Model):
    """A field that is left empty is as good as absent."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each for name, each in value.items() if each is not None}
        return value


class IdentityInFile(_InFile):
    """people.<username>.identities[]"""

    issuer: Annotated[Text, Field(min_length=1, max_length=255)]
    subject: Annotated[Text, Field(min_length=1, max_length=255)]


class PersonInFile(_InFile):
    """people.<username>"""

    uid: int
    gid: int
    groups: Annotated[tuple[Annotated[Text, Field(max_length=100)], ...], Field(max_length=200)] = ()
    display_name: Annotated[Text, Field(max_length=200)] = ""
    email: Annotated[Text, Field(max_length=254)] | None = None
    identities: tuple[IdentityInFile, ...] = ()


class InstrumentInFile(_InFile):
    """instruments.<name>"""

    title: Annotated[Text, Field(max_length=200)] = ""
    scientists: tuple[Username, ...] = ()


class ExperimentInFile(_InFile):
    """proposals.<identifier>.experiments[]"""

    identifier: Identifier
    instrument: Slug
    start: InUtc
    end: InUtc

    @model_validator(mode="after")
    def _ends_after_start(self) -> "ExperimentInFile":
        if self.end < self.start:
            raise ValueError("ends before it starts")
        return self


class DatasetInFile(_InFile):
    """proposals.<identifier>.datasets[]; the path is relative to the proposal's folder."""

    pid: Annotated[Text, Field(min_length=1, max_length=200)]
    name: Annotated[Text, Field(max_length=300)]
    path: RelativePath
    size: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    state: DatasetState = DatasetState.UNKNOWN
    created: InUtc | None = None


class ProposalInFile(_InFile):
    """proposals.<identifier>; the folder is relative to a root, or absolute inside one."""

    title: Annotated[Text, Field(max_length=500)]
    abstract: Annotated[Text, Field(max_length=20_000)] = ""
    instruments: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    state: ProposalState = ProposalState.ACCEPTED
    embargo_until: InUtc | None = None
    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = None
    folder: PlainPath | None = None
    members: dict[Username, MemberRole] = Field(default_factory=dict)
    experiments: tuple[ExperimentInFile, ...] = ()
    datasets: tuple[DatasetInFile, ...] = ()


_NAMES: dict[str, TypeAdapter[str]] = {
    "people": TypeAdapter(Username),
    "instruments": TypeAdapter(Slug),
    "proposals": TypeAdapter(Identifier),
}


class FileConnector(Connector):
    """Read the facility's directory from a file on this machine."""

    def __init__(self, path: Path, roots: Roots) -> None:
        self._path = path
        self._roots = roots

    def fingerprint(self) -> str:
        try:
            status = self._path.stat()
        except OSError as error:
            raise DirectoryError(f"{self._path}: {error.strerror}") from error
        return f"{self._path}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"

    def read(self) -> Snapshot:
        try:
            with self._path.open("rb") as stream:
                return _Reading(self._roots).snapshot(read_entries(stream))
        except OSError as error:
            raise DirectoryError(f"{self._path}: {error.strerror}") from error
        except OutsideRootsError as error:
            raise DirectoryError(f"directory.roots: a root {error}") from error
        except DirectoryError as error:
            raise DirectoryError(f"{self._path}: {error.message}", line=error.line) from None


class _Reading:
    """Turn entries into a snapshot, and collect what is wrong with its place."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._above = roots.followed()
        self._people: dict[str, PersonEntry] = {}
        self._instruments: dict[str, InstrumentEntry] = {}
        self._proposals: dict[str, ProposalEntry] = {}
        self._owners: dict[Identity, str] = {}
        self._folders: dict[str, str] = {}
        # Checked at the end, because sections may come in any order: place, kind, name, line.
        self._references: dict[tuple[str, str], tuple[str, int]] = {}
        self._errors: list[tuple[int, str]] = []

    def snapshot(self, entries: Iterator[Entry]) -> Snapshot:
        sections: dict[str, Callable[[Entry], None]] = {
            "people": self._person,
            "instruments": self._instrument,
            "proposals": self._proposal,
        }
        for entry in entries:
            take = sections.get(entry.section)
            if take is None:
                self._refuse(entry, (), "no such section; there are people, instruments and proposals")
            elif self._is_name(entry):
                take(entry)
            if len(self._errors) >= MAX_ERRORS:
                break
        else:
            self._check_references()
        if self._errors:
            raise DirectoryError(
                "; ".join(f"line {line}: {text}" for line, text in self._errors[:MAX_ERRORS]),
                line=self._errors[0][0],
            )
        # An instrument's title is known only now.
        return Snapshot(
            people=tuple(self._people.values()),
            instruments=tuple(self._instruments.values()),
            proposals=tuple(self._titled(entry) for entry in self._proposals.values()),
        )

    def _refuse(self, entry: Entry, place: tuple[str | int, ...], problem: str) -> None:
        path = ".".join(str(part)[:80] for part in (entry.section, entry.key, *place))
        self._errors.append((entry.line_of(place), f"{path}: {problem}"))

    def _is_name(self, entry: Entry) -> bool:
        try:
            _NAMES[entry.section].validate_python(entry.key)
        except ValidationError as error:
            self._refuse(entry, (), error.errors(include_url=False)[0]["msg"])
            return False
        return True

    def _parse(self, entry: Entry, model: type[Found]) -> Found | None:
        try:
            return model.model_validate(entry.value)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                self._refuse(entry, each["loc"], each["msg"])
            return None

    def _person(self, entry: Entry) -> None:
        given = self._parse(entry, PersonInFile)
        if given is None:
            return
        identities = tuple(Identity(**each.model_dump()) for each in dict.fromkeys(given.identities))
        for index, identity in enumerate(identities):
            owner = self._owners.setdefault(identity, entry.key)
            if owner != entry.key:
                self._refuse(entry, ("identities", index), f"this identity belongs to {owner} already")
        try:
            person = Person(username=entry.key, **given.model_dump(exclude={"identities"}))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            self._refuse(entry, first["loc"], first["msg"])
            return
        self._people[entry.key] = PersonEntry(person=person, identities=identities)

    def _instrument(self, entry: Entry) -> None:
        given = self._parse(entry, InstrumentInFile)
        if given is None:
            return
        for index, username in enumerate(given.scientists):
            self._refer("people", username, entry, ("scientists", index))
        self._instruments[entry.key] = InstrumentEntry(
            instrument=Instrument(name=entry.key, title=given.title or entry.key),
            scientists=tuple(dict.fromkeys(given.scientists)),
        )

    def _proposal(self, entry: Entry) -> None:
        given = self._parse(entry, ProposalInFile)
        if given is None:
            return
        for username in given.members:
            self._refer("people", username, entry, ("members", username))
        for index, name in enumerate(given.instruments):
            self._refer("instruments", name, entry, ("instruments", index))
        for index, experiment in enumerate(given.experiments):
            if experiment.instrument not in given.instruments:
                self._refuse(entry, ("experiments", index, "instrument"), "is not one of the proposal's")
        self._unique(entry, "experiments", [each.identifier for each in given.experiments])
        self._unique(entry, "datasets", [each.pid for each in given.datasets])
        folder = self._folder(entry, given)
        self._proposals[entry.key] = ProposalEntry(
            proposal=Proposal(
                identifier=entry.key,
                title=given.title,
                abstract=given.abstract,
                instruments=tuple(
                    Instrument(name=name, title="") for name in dict.fromkeys(given.instruments)
                ),
                state=given.state,
                experiments=tuple(Experiment(**each.model_dump()) for each in given.experiments),
                embargo_until=given.embargo_until,
                url=given.url,
            ),
            members=tuple(given.members.items()),
            datasets=tuple(Dataset(**each.model_dump()) for each in given.datasets),
            folder=folder,
        )

    def _titled(self, entry: ProposalEntry) -> ProposalEntry:
        instruments = tuple(self._instruments[each.name].instrument for each in entry.proposal.instruments)
        return ProposalEntry(
            proposal=entry.proposal.model_copy(update={"instruments": instruments}),
            members=entry.members,
            datasets=entry.datasets,
            folder=entry.folder,
        )

    def _unique(self, entry: Entry, name: str, keys: list[str]) -> None:
        first: set[str] = set()
        for index, key in enumerate(keys):
            if key in first:
                self._refuse(entry, (name, index), "is given twice")
            first.add(key)

    def _folder(self, entry: Entry, given: ProposalInFile) -> str | None:
        if given.folder is None:
            if given.datasets:
                self._refuse(entry, ("datasets",), "datasets need the proposal's folder")
            return None
        try:
            folder = self._roots.place(given.folder)
            # Kept for this proposal only: all paths of a large facility would fill the memory.
            known = dict(self._above)
            real = self._roots.resolve(folder, known)
        except OutsideRootsError as error:
            self._refuse(entry, ("folder",), str(error))
            return None
        owner = self._folders.setdefault(real, entry.key)
        if owner != entry.key:
            self._refuse(entry, ("folder",), f"is the folder of proposal {owner} already")
        for index, dataset in enumerate(given.datasets):
            self._check_dataset(entry, index, f"{folder}/{clean(dataset.path)}", known)
        return folder

    def _check_dataset(self, entry: Entry, index: int, path: str, known: dict[str, str]) -> None:
        try:
            self._roots.resolve(path, known)
        except OutsideRootsError as error:
            self._refuse(entry, ("datasets", index, "path"), str(error))

    def _refer(self, section: str, name: str, entry: Entry, place: tuple[str | int, ...]) -> None:
        if (section, name) not in self._references:
            path = ".".join(str(part) for part in (entry.section, entry.key, *place))
            self._references[section, name] = (path, entry.line_of(place))

    def _check_references(self) -> None:
        known: dict[str, dict[str, Any]] = {"people": self._people, "instruments": self._instruments}
        for (section, name), (path, line) in self._references.items():
            if name not in known[section]:
                self._errors.append((line, f"{path}: {name} is not among the {section}"))
