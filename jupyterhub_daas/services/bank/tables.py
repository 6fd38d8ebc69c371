"""The bank's tables. A session id stands once: no session has two machines, and no machine two sessions."""

from sqlalchemy import Column, Index, Integer, MetaData, String, Table

from jupyterhub_daas.database.columns import UtcDateTime

metadata = MetaData()

machines = Table(
    "daas_bank_machine",
    metadata,
    Column("machine_id", String(16), primary_key=True),
    Column("hub", String(64), nullable=False),
    Column("profile", String(31), nullable=False),
    Column("image", String(200), nullable=False),
    Column("state", String(8), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("idle_at", UtcDateTime),
    Column("claimed_at", UtcDateTime),
    Column("session_id", String(16), unique=True),
)
Index("daas_bank_of_hub", machines.c.hub, machines.c.profile)

# One row, locked by whoever changes anything: what was read is then still so when it is written.
lock = Table("daas_bank_lock", metadata, Column("id", Integer, primary_key=True, autoincrement=False))
