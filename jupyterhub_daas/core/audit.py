"""The audit trail: what was done, by whom, on whose behalf, to what, with which outcome.

Each row's hash covers the row and the hash before it, and the head names the last row: a row that is removed,
changed, moved or put in between is found. Whoever can rewrite the rows, all hashes after them and the head is
found only by a head that was noted elsewhere.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import Field

from jupyterhub_daas.core.model import Model
from jupyterhub_daas.core.moments import Moment
from jupyterhub_daas.core.names import Identifier, Username, matches

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
EVENT_ID = r"^[0-9a-f]{32}$"
REQUEST_ID = r"^[A-Za-z0-9._-]{1,64}$"
# A place in the order of time: the moment of an event and its number, which tells apart those of one moment.
PLACE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z_[0-9]{1,18}$"
MAX_NAME = 255
MAX_KEY = 600
MAX_DETAIL = 500
MAX_DETAILS = 20
# What the first row follows.
BEGINNING = "0" * 64

Item = TypeVar("Item")
Text = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=PRINTABLE)]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY, pattern=PRINTABLE)]
EventId = Annotated[str, Field(pattern=EVENT_ID)]
RequestId = Annotated[str, Field(pattern=REQUEST_ID)]
Place = Annotated[str, Field(pattern=PLACE)]
Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
DetailName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
DetailText = Annotated[str, Field(max_length=MAX_DETAIL, pattern=PRINTABLE)]


class ActorKind(str, Enum):
    """Who acts: a person, a service of the hub, an identity without a person, or nobody that is known."""

    PERSON = "person"
    SERVICE = "service"
    IDENTITY = "identity"
    UNKNOWN = "unknown"


class AuditAction(str, Enum):
    """What is done."""

    LOGIN = "login"
    DENIAL = "denial"
    LINK = "link"
    UNLINK = "unlink"
    ROLE = "role"
    BLOCK = "block"
    UNBLOCK = "unblock"
    RELEASE = "release"
    ACCEPTANCE = "acceptance"
    OVERRIDE = "override"
    START = "start"
    STOP = "stop"
    SHARE = "share"
    DATA_ACCESS = "data_access"
    ACCESS_REQUEST = "access_request"
    ALARM = "alarm"


class AuditOutcome(str, Enum):
    """How it ended: done, refused by a rule, or failed."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class ObjectKind(str, Enum):
    """What it was done to."""

    PERSON = "person"
    IDENTITY = "identity"
    PROPOSAL = "proposal"
    SESSION = "session"
    CONDITIONS = "conditions"
    PORTAL = "portal"


class Actor(Model):
    """Who acts; a person and a service of one name are two."""

    kind: ActorKind
    name: Text


class AuditObject(Model):
    """What something is done to."""

    kind: ObjectKind
    key: Key


class AuditEvent(Model):
    """One thing that happened; `event_id` makes recording it twice harmless."""

    event_id: EventId = Field(default_factory=lambda: secrets.token_hex(16))
    time: Moment
    actor: Actor
    on_behalf_of: Username | None = None
    action: AuditAction
    object: AuditObject
    outcome: AuditOutcome = AuditOutcome.DONE
    reason: Reason | None = None
    proposal: Identifier | None = None
    request_id: RequestId | None = None
    details: Annotated[dict[DetailName, DetailText], Field(max_length=MAX_DETAILS)] = Field(
        default_factory=dict
    )


class AuditRecord(AuditEvent):
    """An event as it is kept: with its place in the chain, who recorded it and when."""

    number: Annotated[int, Field(ge=1)]
    recorded_at: Moment
    recorded_by: Actor
    previous: str
    hash: str


class Stretch(Model, Generic[Item]):
    """Some of a trail, the latest first; `next` is where the earlier ones begin, None if there are none."""

    items: tuple[Item, ...]
    next: Place | None = None


class DataAccess(Model):
    """What the members of a proposal see of an access to its data.

    `role` is what the person was on the proposal then; `by` who started the session for her.
    """

    time: Moment
    person: str
    session: str
    folders: str
    role: str = ""
    by: str = ""


class TrailState(Model):
    """Where a trail ends (`number` and `hash`), and whether its last `checked` events hold together."""

    number: Annotated[int, Field(ge=0)]
    hash: str
    checked: Annotated[int, Field(ge=0)]
    broken: str | None = None


class Author(NamedTuple):
    """Who changes something, and by which request."""

    actor: Actor
    request_id: str | None = None

    @classmethod
    def person(cls, username: str) -> "Author":
        """Return a person as the author."""
        return cls(Actor(kind=ActorKind.PERSON, name=username))


def shown(text: str, most: int = MAX_DETAIL) -> str:
    """Return a text that an event can carry, whatever was in it."""
    return "".join(each if each.isprintable() else "?" for each in text)[:most]


def request_id_of(header: str | None) -> str:
    """Return the id that a web server in front gave a request, or a new one."""
    return header if header and matches(REQUEST_ID, header) else secrets.token_hex(8)


# --- rows and their chain

# The columns that a hash covers, in this order for ever.
COLUMNS = (
    "number",
    "event_id",
    "time",
    "actor_kind",
    "actor",
    "on_behalf_of",
    "action",
    "object_kind",
    "object_key",
    "outcome",
    "reason",
    "proposal",
    "request_id",
    "details",
    "recorded_at",
    "recorded_by_kind",
    "recorded_by",
)
Row = Mapping[str, object]


class Head(NamedTuple):
    """The last row of a chain."""

    number: int = 0
    hash: str = BEGINNING

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Break(NamedTuple):
    """The first place where a chain does not hold."""

    number: int
    what: str


def stamp(moment: datetime) -> str:
    """Return a moment as a text of fixed width, whose order is that of time."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(row: Row) -> bytes:
    """Return what of a row is hashed; rows that differ anywhere differ here."""
    # What a column should never hold, such as bytes, becomes something that no proper row has.
    return json.dumps(
        [row.get(name) for name in COLUMNS], separators=(",", ":"), default=lambda each: [repr(each)]
    ).encode()


def chained(previous: str, row: Row) -> str:
    """Return the hash of a row that follows another."""
    return hashlib.sha256(previous.encode() + b"\n" + canonical(row)).hexdigest()


def row_of(event: AuditEvent, *, head: Head, recorded_by: Actor, now: datetime) -> dict[str, object]:
    """Return the row that keeps an event behind this head."""
    row: dict[str, object] = {
        "number": head.number + 1,
        "event_id": event.event_id,
        "time": stamp(event.time),
        "actor_kind": event.actor.kind.value,
        "actor": event.actor.name,
        "on_behalf_of": event.on_behalf_of,
        "action": event.action.value,
        "object_kind": event.object.kind.value,
        "object_key": event.object.key,
        "outcome": event.outcome.value,
        "reason": event.reason,
        "proposal": event.proposal,
        "request_id": event.request_id,
        "details": json.dumps(event.details, sort_keys=True, separators=(",", ":")),
        "recorded_at": stamp(now),
        "recorded_by_kind": recorded_by.kind.value,
        "recorded_by": recorded_by.name,
    }
    return {**row, "previous": head.hash, "hash": chained(head.hash, row)}


def record_of(row: Row) -> AuditRecord:
    """Return the event that a row keeps."""
    plain = {
        name: row[name]
        for name in AuditRecord.model_fields
        if name not in ("actor", "object", "details", "recorded_by")
    }
    return AuditRecord.model_validate(
        {
            **plain,
            "actor": {"kind": row["actor_kind"], "name": row["actor"]},
            "object": {"kind": row["object_kind"], "key": row["object_key"]},
            "details": json.loads(str(row["details"])),
            "recorded_by": {"kind": row["recorded_by_kind"], "name": row["recorded_by"]},
        }
    )


def follow(head: Head, row: Row) -> Head | Break:
    """Return the head after a row, or where the chain breaks."""
    number = row.get("number")
    expected = head.number + 1
    if number != expected or isinstance(number, bool):
        return Break(expected, f"row {expected} is missing: row {number} stands in its place")
    if row.get("previous") != head.hash:
        return Break(expected, f"row {expected} does not follow the row before it")
    found = chained(head.hash, row)
    if row.get("hash") != found:
        return Break(expected, f"row {expected} was changed")
    return Head(expected, found)


def check_end(reached: Head, kept: Head) -> Break | None:
    """Return what is wrong with the end of a chain, compared with the head that was kept beside it."""
    if reached == kept:
        return None
    if reached.number < kept.number:
        number = reached.number + 1
        return Break(number, f"row {number} is missing: the trail had {kept.number} rows")
    if reached.number > kept.number:
        return Break(kept.number + 1, f"row {kept.number + 1} was added past the end")
    return Break(reached.number, f"row {reached.number} is not the one that was recorded")


def verify(rows: Iterable[Row], kept: Head) -> Break | None:
    """Return the first broken place of a whole chain, or None."""
    head = Head()
    for row in rows:
        after = follow(head, row)
        if isinstance(after, Break):
            return after
        head = after
    return check_end(head, kept)
