"""The provider's endpoint by which an event came, for Kafka, and for what the ledger's sweep follows."""

from alembic import op

from migrations.days import with_detached

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the log, since intake would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in (*with_detached(op.get_bind(), "outbox"), "ledger_findings"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN endpoint TEXT")
