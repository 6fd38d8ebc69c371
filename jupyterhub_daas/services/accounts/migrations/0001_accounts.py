"""Make the tables of acceptances, favourites, preferences, blocks and roles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables and their indexes."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "daas_acceptance",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("accepted_at", moment, nullable=False),
        sa.UniqueConstraint("username", "version", name="daas_acceptance_once"),
    )
    op.create_table(
        "daas_favourite",
        sa.Column("username", sa.String(64), primary_key=True),
        sa.Column("identifier", sa.String(64), primary_key=True),
        sa.Column("added_at", moment, nullable=False),
    )
    op.create_table(
        "daas_preference",
        sa.Column("username", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.String(200), nullable=False),
    )
    op.create_table(
        "daas_block",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.Column("set_by", sa.String(255), nullable=False),
        sa.Column("ended_at", moment),
        sa.Column("ended_by", sa.String(255)),
    )
    op.create_index("daas_block_history", "daas_block", ["username"])
    in_force = sa.text("ended_at IS NULL")
    op.create_index(
        "daas_block_in_force",
        "daas_block",
        ["username"],
        unique=True,
        sqlite_where=in_force,
        postgresql_where=in_force,
    )
    op.create_table(
        "daas_role",
        sa.Column("username", sa.String(64), primary_key=True),
        sa.Column("role", sa.String(40), primary_key=True),
        sa.Column("instruments", sa.JSON, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("granted_by", sa.String(255), nullable=False),
        sa.Column("granted_at", moment, nullable=False),
    )
