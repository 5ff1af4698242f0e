"""The mode (test or live) of an event, and the provider's account to which it belongs."""

from alembic import op

from migrations.days import with_detached

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the logs, since intake would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    log, deliveries = with_detached(op.get_bind(), "outbox"), with_detached(op.get_bind(), "webhook_deliveries")
    for table in (*log, *deliveries, "payments", "refunds", "disputes", "subscriptions", "invoices"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN livemode BOOLEAN, ADD COLUMN account TEXT")
    # 0021 changed this for the attached days only.
    for day in deliveries[1:]:
        op.execute(f"""
            ALTER TABLE {day}
              DROP CONSTRAINT webhook_deliveries_rejected_with_reason,
              ADD CONSTRAINT webhook_deliveries_rejected_with_reason CHECK (outcome <> 'rejected' or reason is not null)
        """)
