"""The lifecycle's tables: sessions that were ended here, and why; people of running sessions off a proposal.

A session id stands once among the endings, a pair of person and proposal once among the losses.
"""

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

losses = Table(
    "daas_lost_membership",
    metadata,
    Column("person", String(64), primary_key=True),
    Column("proposal", String(64), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
)
