"""The accounts' tables. Keys are usernames: nothing refers to the hub's own tables.

Of a person's blocks at most one has no end; ended ones stay, as does every acceptance. To the audit trail
rows are only ever added; its moments are texts, so that what is hashed is what is stored.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
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
Index(
    "daas_block_in_force",
    blocks.c.username,
    unique=True,
    sqlite_where=text("ended_at IS NULL"),
    postgresql_where=text("ended_at IS NULL"),
)

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
