"""Make the table of the audit trail, to which rows are only ever added.

The triggers stop accidents, and whoever may not change the tables' definition; the chain of hashes shows what
they can't stop.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_REFUSE = "the audit trail is append only"


def upgrade() -> None:
    """Make the tables, their indexes and their triggers."""
    op.create_table(
        "daas_audit",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_id", sa.String(32), nullable=False, unique=True),
        sa.Column("time", sa.String(27), nullable=False),
        sa.Column("actor_kind", sa.String(20), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("on_behalf_of", sa.String(64)),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("object_kind", sa.String(20), nullable=False),
        sa.Column("object_key", sa.String(600), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(60)),
        sa.Column("proposal", sa.String(64)),
        sa.Column("request_id", sa.String(64)),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.String(27), nullable=False),
        sa.Column("recorded_by_kind", sa.String(20), nullable=False),
        sa.Column("recorded_by", sa.String(255), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("daas_audit_time", "daas_audit", ["time"])
    op.create_index("daas_audit_actor", "daas_audit", ["actor", "number"])
    op.create_index("daas_audit_on_behalf_of", "daas_audit", ["on_behalf_of", "number"])
    op.create_index("daas_audit_object", "daas_audit", ["object_key", "number"])
    op.create_index("daas_audit_proposal", "daas_audit", ["proposal", "action", "number"])
    head = op.create_table(
        "daas_audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "hash": "0" * 64}])
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_sqlite() -> None:
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER daas_audit_no_{event.lower()} BEFORE {event} ON daas_audit "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
        )
    # INSERT OR REPLACE deletes without asking the other triggers.
    taken = "EXISTS (SELECT 1 FROM daas_audit WHERE number = NEW.number OR event_id = NEW.event_id)"
    op.execute(
        f"CREATE TRIGGER daas_audit_no_replace BEFORE INSERT ON daas_audit WHEN {taken} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
    )
    op.execute(
        "CREATE TRIGGER daas_audit_head_no_delete BEFORE DELETE ON daas_audit_head "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
    )
    op.execute(
        "CREATE TRIGGER daas_audit_head_forward BEFORE UPDATE ON daas_audit_head "
        "WHEN NEW.id IS NOT OLD.id OR NEW.number IS NOT OLD.number + 1 "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
    )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION daas_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSE}'; END $$"
    )
    refuse = "EXECUTE FUNCTION daas_audit_refuse()"
    op.execute(
        f"CREATE TRIGGER daas_audit_no_change BEFORE UPDATE OR DELETE ON daas_audit FOR EACH ROW {refuse}"
    )
    op.execute(
        "CREATE TRIGGER daas_audit_head_forward BEFORE UPDATE ON daas_audit_head FOR EACH ROW "
        "WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.number IS DISTINCT FROM OLD.number + 1) "
        f"{refuse}"
    )
    op.execute(
        f"CREATE TRIGGER daas_audit_head_no_delete BEFORE DELETE ON daas_audit_head FOR EACH ROW {refuse}"
    )
    for table in ("daas_audit", "daas_audit_head"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}"
        )
