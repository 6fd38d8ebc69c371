"""Hold the index of all proposals; what is searched of them stands no more at each of their instruments."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of the index; write the sites anew, without text and keys."""
    op.create_table(
        "daas_directory_index",
        sa.Column("part", KEY, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.rename_table("daas_directory_site", "daas_directory_site_before")
    # A table that is renamed keeps the names of its indexes.
    op.drop_index("daas_directory_site_proposal", "daas_directory_site_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX daas_directory_site_pkey RENAME TO daas_directory_site_before_pkey")
    op.create_table(
        "daas_directory_site",
        sa.Column("instrument", KEY, primary_key=True),
        sa.Column("proposal", KEY, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO daas_directory_site (instrument, proposal) "
        "SELECT instrument, proposal FROM daas_directory_site_before"
    )
    op.drop_table("daas_directory_site_before")
    op.create_index("daas_directory_site_proposal", "daas_directory_site", ["proposal"])
