"""Proposals with their experiments, members, datasets and mounts."""

from collections.abc import Collection
from datetime import datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.names import Identifier, Slug, Username

Item = TypeVar("Item")


class Page(Model, Generic[Item]):
    """Some items of a list, and how many there are in all."""

    items: tuple[Item, ...]
    total: Annotated[int, Field(ge=0)]


class Instrument(Model):
    """Where data is measured."""

    name: Slug
    title: Annotated[str, Field(max_length=200)]


class ProposalState(str, Enum):
    """Where a proposal stands; sessions start for accepted, running and finished ones."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    FINISHED = "finished"
    CLOSED = "closed"


class MemberRole(str, Enum):
    """What a person is on a proposal."""

    PRINCIPAL_INVESTIGATOR = "principal_investigator"
    PROPOSER = "proposer"
    MEMBER = "member"
    LOCAL_CONTACT = "local_contact"
    INSTRUMENT_SCIENTIST = "instrument_scientist"


class Member(Model):
    """A person on a proposal."""

    username: Username
    display_name: str = ""
    role: MemberRole


class Membership(Model):
    """A person and a proposal whose data she may have: as its member, or as scientist of its instrument."""

    username: Username
    proposal: Identifier


class Memberships(Model):
    """Some memberships."""

    items: Annotated[tuple[Membership, ...], Field(max_length=500)] = ()


def role_of(username: str, members: Collection[Member]) -> MemberRole | None:
    """Return what a person is on a proposal with these members; None if she is not on it."""
    return next((each.role for each in members if each.username == username), None)


class Experiment(Model):
    """One visit of a proposal at one instrument."""

    identifier: Identifier
    instrument: Slug
    start: datetime
    end: datetime


class Proposal(Model):
    """An accepted request for beamtime: the unit of access, data and quota."""

    identifier: Identifier
    title: Annotated[str, Field(max_length=500)]
    abstract: Annotated[str, Field(max_length=20_000)] = ""
    instruments: tuple[Instrument, ...] = ()
    state: ProposalState = ProposalState.ACCEPTED
    experiments: tuple[Experiment, ...] = ()
    embargo_until: datetime | None = None
    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = None


class DatasetState(str, Enum):
    """Whether a dataset can be read now."""

    ONLINE = "online"
    ARCHIVED = "archived"
    RESTORING = "restoring"
    UNKNOWN = "unknown"


class Dataset(Model):
    """Data of an experiment; size in bytes."""

    pid: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(max_length=300)]
    path: Annotated[str, Field(max_length=4096)]
    size: Annotated[int, Field(ge=0)] = 0
    state: DatasetState = DatasetState.UNKNOWN
    created: datetime | None = None


class MountMode(str, Enum):
    """Whether a session may write to a mount."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"


def _clean_relative(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or str(pure) != path or "\0" in path:
        raise ValueError("must be a relative path without '..'")
    return path


def _clean_absolute(path: str) -> str:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\0" in path:
        raise ValueError("must be an absolute path without '..'")
    return path


class Mount(Model):
    """A folder of the facility as a session sees it: `target` is relative to the person's home."""

    source: Annotated[str, Field(max_length=4096), AfterValidator(_clean_absolute)]
    target: Annotated[str, Field(max_length=512), AfterValidator(_clean_relative)]
    mode: MountMode
