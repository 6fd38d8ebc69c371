"""Make the table of lost memberships."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "daas_lost_membership",
        sa.Column("person", sa.String(64), primary_key=True),
        sa.Column("proposal", sa.String(64), primary_key=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )
