"""The accounts' tables. Keys are usernames: nothing refers to the hub's own tables.

Of a person's blocks at most one has no end; ended ones stay, as does every acceptance.
"""

from sqlalchemy import JSON, Column, Index, Integer, MetaData, String, Table, UniqueConstraint, text

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
