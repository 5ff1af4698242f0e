"""The reason of deliveries that are stored and go to no worker, not of rejected ones alone."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the delivery log, since intake would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE webhook_deliveries
          DROP CONSTRAINT webhook_deliveries_rejected_with_reason,
          ADD CONSTRAINT webhook_deliveries_rejected_with_reason CHECK (outcome <> 'rejected' or reason is not null) NOT VALID
    """)
    op.execute("ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_rejected_with_reason")
