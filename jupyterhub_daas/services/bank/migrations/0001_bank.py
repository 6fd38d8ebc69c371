"""Make the table of machines, and the row that whoever changes it locks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both."""
    op.create_table(
        "daas_bank_machine",
        sa.Column("machine_id", sa.String(16), primary_key=True),
        sa.Column("hub", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(31), nullable=False),
        sa.Column("image", sa.String(200), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idle_at", sa.DateTime(timezone=True)),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.Column("session_id", sa.String(16), unique=True),
    )
    op.create_index("daas_bank_of_hub", "daas_bank_machine", ["hub", "profile"])
    lock = op.create_table(
        "daas_bank_lock", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False)
    )
    op.bulk_insert(lock, [{"id": 1}])
