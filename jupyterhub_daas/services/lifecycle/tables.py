"""The lifecycle's one table: sessions that were ended here, and why. A session id stands in it once."""

from sqlalchemy import Column, Index, MetaData, String, Table

from jupyterhub_daas.database.columns import UtcDateTime

metadata = MetaData()

endings = Table(
    "daas_ending",
    metadata,
    Column("session_id", String(16), primary_key=True),
    Column("person", String(64), nullable=False),
    Column("session", String(64), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
Index("daas_ending_of_person", endings.c.person, endings.c.at)
