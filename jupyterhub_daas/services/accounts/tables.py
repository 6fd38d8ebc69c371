"""The accounts' tables. Keys are usernames: nothing refers to the hub's own tables.

Of a person's blocks at most one has no end; ended ones stay, as does every acceptance. An identity has at
most one link in force; former ones stay. To the audit trail rows are only ever added; its moments are texts,
so that what is hashed is what is stored.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from jupyterhub_daas.database.columns import UtcDateTime

metadata = MetaData()


def _unique_where(name: str, *columns: Column[Any], where: str) -> None:
    condition = text(where)
    Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


acceptances = Table(
    "daas_acceptance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(64), nullable=False),
    Column("version", String(40), nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
    UniqueConstraint("username", "version", name="daas_acceptance_once"),
)

favourites = Table(
    "daas_favourite",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("identifier", String(64), primary_key=True),
    Column("added_at", UtcDateTime, nullable=False),
)

preferences = Table(
    "daas_preference",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("value", String(200), nullable=False),
)

blocks = Table(
    "daas_block",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(64), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("set_by", String(255), nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_by", String(255)),
)
Index("daas_block_history", blocks.c.username)
_unique_where("daas_block_in_force", blocks.c.username, where="ended_at IS NULL")

roles = Table(
    "daas_role",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("role", String(40), primary_key=True),
    Column("instruments", JSON, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("reason", String(500), nullable=False),
    Column("granted_by", String(255), nullable=False),
    Column("granted_at", UtcDateTime, nullable=False),
)

# `withdrawn`: taken away by hand, so that the directory's word alone does not bring it back.
identities = Table(
    "daas_identity",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("username", String(64), nullable=False),
    Column("source", String(20), nullable=False),
    Column("reason", String(500), nullable=False),
    Column("linked_at", UtcDateTime, nullable=False),
    Column("linked_by", String(255), nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", String(255)),
    Column("revoked_reason", String(500)),
    Column("withdrawn", Boolean, nullable=False),
)
_unique_where("daas_identity_in_force", identities.c.issuer, identities.c.subject, where="revoked_at IS NULL")
Index("daas_identity_history", identities.c.issuer, identities.c.subject, identities.c.id)
Index("daas_identity_of_person", identities.c.username)

entitled_roles = Table(
    "daas_entitled_role",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("role", String(40), primary_key=True),
    Column("instruments", JSON, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

access_requests = Table(
    "daas_access_request",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("username", String(64)),
    Column("provider", String(80), nullable=False),
    Column("name", String(200), nullable=False),
    Column("email", String(254), nullable=False),
    Column("message", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("answer", Text),
    Column("answered_at", UtcDateTime),
    Column("answered_by", String(255)),
)
_unique_where(
    "daas_access_request_open",
    access_requests.c.issuer,
    access_requests.c.subject,
    where="state = 'pending'",
)
Index(
    "daas_access_request_history", access_requests.c.issuer, access_requests.c.subject, access_requests.c.id
)
Index("daas_access_request_state", access_requests.c.state, access_requests.c.id)

# What is still to be done outside of this database, written with the change that asks for it.
errands = Table(
    "daas_errand",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
)
Index("daas_errand_due", errands.c.due_at)

audit = Table(
    "daas_audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", String(32), nullable=False, unique=True),
    Column("time", String(27), nullable=False),
    Column("actor_kind", String(20), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("on_behalf_of", String(64)),
    Column("action", String(20), nullable=False),
    Column("object_kind", String(20), nullable=False),
    Column("object_key", String(600), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("reason", String(60)),
    Column("proposal", String(64)),
    Column("request_id", String(64)),
    Column("details", Text, nullable=False),
    Column("recorded_at", String(27), nullable=False),
    Column("recorded_by_kind", String(20), nullable=False),
    Column("recorded_by", String(255), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
Index("daas_audit_time", audit.c.time)
# Each filter of the trail has the order of time within it: a page costs what is on it.
Index("daas_audit_actor_time", audit.c.actor, audit.c.time)
Index("daas_audit_on_behalf_of_time", audit.c.on_behalf_of, audit.c.time)
Index("daas_audit_object_time", audit.c.object_key, audit.c.time)
Index("daas_audit_proposal_time", audit.c.proposal, audit.c.time)
Index("daas_audit_proposal_action_time", audit.c.proposal, audit.c.action, audit.c.time)
Index("daas_audit_action_time", audit.c.action, audit.c.time)
Index("daas_audit_outcome_time", audit.c.outcome, audit.c.time)

audit_head = Table(
    "daas_audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
