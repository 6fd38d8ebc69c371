"""The tables of the directory's snapshot.

`record` is a thing as the API answers it; what is searched and sorted by stands beside it, folded. Who sees a
few proposals is answered from these; for scientists of an instrument, who may see tens of thousands, the
index holds the same in its parts.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

from jupyterhub_daas.database.columns import UtcDateTime

metadata = MetaData()

# Compared byte by byte, on every database.
Key = String().with_variant(String(collation="C"), "postgresql")

snapshots = Table(
    "daas_directory_snapshot",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("fingerprint", Text, nullable=False),
    Column("read_at", UtcDateTime, nullable=False),
    Column("people", BigInteger, nullable=False),
    Column("instruments", BigInteger, nullable=False),
    Column("proposals", BigInteger, nullable=False),
)

people = Table(
    "daas_directory_person",
    metadata,
    Column("username", Key, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("digest", String(32), nullable=False),
)

identities = Table(
    "daas_directory_identity",
    metadata,
    Column("issuer", Key, primary_key=True),
    Column("subject", Key, primary_key=True),
    Column("username", Key, nullable=False),
)
Index("daas_directory_identity_person", identities.c.username)

instruments = Table(
    "daas_directory_instrument",
    metadata,
    Column("name", Key, primary_key=True),
    Column("digest", String(32), nullable=False),
)

scientists = Table(
    "daas_directory_scientist",
    metadata,
    Column("username", Key, primary_key=True),
    Column("instrument", Key, primary_key=True),
)
Index("daas_directory_scientist_instrument", scientists.c.instrument)

# What a list can be sorted by.
SORT_KEYS = ("state", "identifier_key", "title_key", "abstract_key", "instrument_key")

proposals = Table(
    "daas_directory_proposal",
    metadata,
    Column("identifier", Key, primary_key=True),
    *(Column(key, Key, nullable=False) for key in SORT_KEYS),
    Column("text", Text, nullable=False),
    Column("folder", Text),
    Column("record", Text, nullable=False),
    Column("digest", String(32), nullable=False),
)

members = Table(
    "daas_directory_member",
    metadata,
    Column("username", Key, primary_key=True),
    Column("proposal", Key, primary_key=True),
    Column("role", String(40), nullable=False),
    Column("position", Integer, nullable=False),
    sqlite_with_rowid=False,
)
Index("daas_directory_member_proposal", members.c.proposal)

sites = Table(
    "daas_directory_site",
    metadata,
    Column("instrument", Key, primary_key=True),
    Column("proposal", Key, primary_key=True),
    sqlite_with_rowid=False,
)
Index("daas_directory_site_proposal", sites.c.proposal)

index_parts = Table(
    "daas_directory_index",
    metadata,
    Column("part", Key, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

datasets = Table(
    "daas_directory_dataset",
    metadata,
    Column("proposal", Key, primary_key=True),
    Column("pid", Key, primary_key=True),
    Column("name_key", Key, nullable=False),
    Column("text", Text, nullable=False),
    Column("record", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("daas_directory_dataset_name", datasets.c.proposal, datasets.c.name_key, datasets.c.pid)
