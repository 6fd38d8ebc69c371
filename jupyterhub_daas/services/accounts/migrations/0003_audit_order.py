"""Index the audit trail in the order of time, in which its pages show it."""

from alembic import op

revision = "0003"
down_revision = "0002"

_FORMER = ("daas_audit_actor", "daas_audit_on_behalf_of", "daas_audit_object", "daas_audit_proposal")
_PRESENT = {
    "daas_audit_actor_time": ["actor", "time"],
    "daas_audit_on_behalf_of_time": ["on_behalf_of", "time"],
    "daas_audit_object_time": ["object_key", "time"],
    "daas_audit_proposal_time": ["proposal", "time"],
    "daas_audit_proposal_action_time": ["proposal", "action", "time"],
    "daas_audit_action_time": ["action", "time"],
    "daas_audit_outcome_time": ["outcome", "time"],
}


def upgrade() -> None:
    """Put the new indexes in the place of the former ones."""
    for name, columns in _PRESENT.items():
        op.create_index(name, "daas_audit", columns)
    for name in _FORMER:
        op.drop_index(name, "daas_audit")
