"""
The indexes of the operators' lists and of their search.

They are made while the tables are written to, each outside of a transaction. One that an interrupted migration left behind is not
valid and is made anew.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_INDEXES = {
    "payments_updated_at_idx": "payments (updated_at, id, provider)",
    "payments_user_id_idx": "payments (user_id) WHERE user_id is not null",
    "subscriptions_updated_at_idx": "subscriptions (updated_at, id, provider)",
    "invoices_updated_at_idx": "invoices (updated_at, id, provider)",
    "reconciliations_user_id_idx": "reconciliations (user_id) WHERE user_id IS NOT NULL",
    "leads_partner_id_idx": "leads (partner, id)",
    "leads_external_lead_id_idx": "leads (external_lead_id)",
    "notifications_recipient_idx": "notifications (recipient, id)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
