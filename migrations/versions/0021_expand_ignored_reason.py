"""Why a delivery that is stored goes to no worker: others than rejected ones may have a reason too."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Waits for no reader of the delivery log, so that intake does not wait behind it: better to fail and to be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        ALTER TABLE webhook_deliveries
          DROP CONSTRAINT webhook_deliveries_rejected_with_reason,
          ADD CONSTRAINT webhook_deliveries_rejected_with_reason CHECK (outcome <> 'rejected' or reason is not null) NOT VALID
    """)
    op.execute("ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_rejected_with_reason")
