"""Make reservations, the facility's sum and overrides."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

HOLDING = sa.text("ended_at IS NULL")
HELD = sa.text("ended_at IS NULL AND state = 'held'")
PRESENT = sa.text("removed_at IS NULL")


def _amounts() -> list[sa.Column[int]]:
    names = ("machines", "millicpus", "memory", "storage", "gpus")
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "quotas_reservations",
        sa.Column("session_id", sa.String(16), primary_key=True),
        sa.Column("person", sa.String(31), nullable=False),
        sa.Column("proposal", sa.String(64), nullable=False),
        sa.Column("session", sa.String(31), nullable=False),
        sa.Column("environment", sa.String(31), nullable=False),
        sa.Column("flavour", sa.String(31), nullable=False),
        sa.Column("backend", sa.String(31), nullable=False),
        sa.Column("instruments", sa.Text, nullable=False),
        *_amounts(),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("idle_seconds", sa.BigInteger),
        sa.Column("hold_seconds", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("lapses_at", sa.BigInteger, nullable=False),
        sa.Column("activated_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
    )
    facility = op.create_table(
        "quotas_facility",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        *_amounts(),
    )
    op.bulk_insert(facility, [{"id": 1, "machines": 0, "millicpus": 0, "memory": 0, "storage": 0, "gpus": 0}])
    op.create_table(
        "quotas_overrides",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("scope", sa.String(8), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("recorded_by", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("removed_by", sa.Text),
        sa.Column("removed_at", sa.BigInteger),
    )
    _create_indexes()


def _create_indexes() -> None:
    table = "quotas_reservations"
    for name, columns, where in (
        ("ix_quotas_holding_person", ["person"], HOLDING),
        ("ix_quotas_holding_proposal", ["proposal"], HOLDING),
        ("ix_quotas_held_lapses", ["lapses_at"], HELD),
    ):
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        "ix_quotas_overrides_present",
        "quotas_overrides",
        ["scope", "key"],
        unique=True,
        sqlite_where=PRESENT,
        postgresql_where=PRESENT,
    )
    op.create_index("ix_quotas_ended", table, ["ended_at"])
    op.create_index("ix_quotas_person", table, ["person", "created_at"])
    op.create_index("ix_quotas_proposal", table, ["proposal", "created_at"])
