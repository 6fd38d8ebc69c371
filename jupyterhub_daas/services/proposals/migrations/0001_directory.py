"""Make the tables of the directory's snapshot."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables and their indexes."""
    _make_people()
    _make_proposals()
    _make_sites()
    _make_datasets()


def _make_people() -> None:
    op.create_table(
        "daas_directory_snapshot",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("people", sa.BigInteger, nullable=False),
        sa.Column("instruments", sa.BigInteger, nullable=False),
        sa.Column("proposals", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "daas_directory_person",
        sa.Column("username", KEY, primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
    )
    op.create_table(
        "daas_directory_identity",
        sa.Column("issuer", KEY, primary_key=True),
        sa.Column("subject", KEY, primary_key=True),
        sa.Column("username", KEY, nullable=False),
    )
    op.create_index("daas_directory_identity_person", "daas_directory_identity", ["username"])
    op.create_table(
        "daas_directory_instrument",
        sa.Column("name", KEY, primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False),
    )
    op.create_table(
        "daas_directory_scientist",
        sa.Column("username", KEY, primary_key=True),
        sa.Column("instrument", KEY, primary_key=True),
    )
    op.create_index("daas_directory_scientist_instrument", "daas_directory_scientist", ["instrument"])


def _found_by() -> list[sa.Column[str]]:
    return [
        sa.Column("state", KEY, nullable=False),
        sa.Column("identifier_key", KEY, nullable=False),
        sa.Column("title_key", KEY, nullable=False),
        sa.Column("abstract_key", KEY, nullable=False),
        sa.Column("instrument_key", KEY, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    ]


def _make_proposals() -> None:
    op.create_table(
        "daas_directory_proposal",
        sa.Column("identifier", KEY, primary_key=True),
        *_found_by(),
        sa.Column("folder", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
    )
    op.create_table(
        "daas_directory_member",
        sa.Column("username", KEY, primary_key=True),
        sa.Column("proposal", KEY, primary_key=True),
        sa.Column("role", sa.String(40), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("daas_directory_member_proposal", "daas_directory_member", ["proposal"])


def _make_sites() -> None:
    op.create_table(
        "daas_directory_site",
        sa.Column("instrument", KEY, primary_key=True),
        sa.Column("proposal", KEY, primary_key=True),
        *_found_by(),
        sqlite_with_rowid=False,
    )
    op.create_index("daas_directory_site_proposal", "daas_directory_site", ["proposal"])
    for key in ("identifier_key", "title_key", "abstract_key", "instrument_key"):
        op.create_index(
            f"daas_directory_site_{key}", "daas_directory_site", ["instrument", key, "proposal", "state"]
        )
    op.create_index("daas_directory_site_state", "daas_directory_site", ["instrument", "state", "proposal"])


def _make_datasets() -> None:
    op.create_table(
        "daas_directory_dataset",
        sa.Column("proposal", KEY, primary_key=True),
        sa.Column("pid", KEY, primary_key=True),
        sa.Column("name_key", KEY, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("daas_directory_dataset_name", "daas_directory_dataset", ["proposal", "name_key", "pid"])
