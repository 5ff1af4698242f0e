"""Whether an event is of the test or the live mode, and whose account it is of."""

from alembic import op

from migrations.days import with_detached

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Waits for no reader of the logs, so that intake does not wait behind it: better to fail and to be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    log, deliveries = with_detached(op.get_bind(), "outbox"), with_detached(op.get_bind(), "webhook_deliveries")
    for table in (*log, *deliveries, "payments", "refunds", "disputes", "subscriptions", "invoices"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN livemode BOOLEAN, ADD COLUMN account TEXT")
    # 0021 changed this of the days in use alone.
    for day in deliveries[1:]:
        op.execute(f"""
            ALTER TABLE {day}
              DROP CONSTRAINT webhook_deliveries_rejected_with_reason,
              ADD CONSTRAINT webhook_deliveries_rejected_with_reason CHECK (outcome <> 'rejected' or reason is not null)
        """)
