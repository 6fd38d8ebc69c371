"""Make the tables of identities, roles by entitlement, access requests and errands."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables and their indexes."""
    _identities()
    _entitled_roles()
    _access_requests()
    op.create_table(
        "daas_errand",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("due_at", _MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_index("daas_errand_due", "daas_errand", ["due_at"])


def _unique_where(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=True, sqlite_where=condition, postgresql_where=condition)


def _identities() -> None:
    op.create_table(
        "daas_identity",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("linked_at", _MOMENT, nullable=False),
        sa.Column("linked_by", sa.String(255), nullable=False),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("revoked_by", sa.String(255)),
        sa.Column("revoked_reason", sa.String(500)),
        sa.Column("withdrawn", sa.Boolean, nullable=False),
    )
    _unique_where("daas_identity_in_force", "daas_identity", ["issuer", "subject"], "revoked_at IS NULL")
    op.create_index("daas_identity_history", "daas_identity", ["issuer", "subject", "id"])
    op.create_index("daas_identity_of_person", "daas_identity", ["username"])


def _entitled_roles() -> None:
    op.create_table(
        "daas_entitled_role",
        sa.Column("username", sa.String(64), primary_key=True),
        sa.Column("issuer", sa.String(255), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("role", sa.String(40), primary_key=True),
        sa.Column("instruments", sa.JSON, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
    )


def _access_requests() -> None:
    op.create_table(
        "daas_access_request",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("username", sa.String(64)),
        sa.Column("provider", sa.String(80), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_at", _MOMENT),
        sa.Column("answered_by", sa.String(255)),
    )
    _unique_where(
        "daas_access_request_open", "daas_access_request", ["issuer", "subject"], "state = 'pending'"
    )
    op.create_index("daas_access_request_history", "daas_access_request", ["issuer", "subject", "id"])
    op.create_index("daas_access_request_state", "daas_access_request", ["state", "id"])
