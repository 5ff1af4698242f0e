"""A dead letter without an offset: another record at its place became a dead letter after Kafka had lost the first."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the letters, since workers would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute('ALTER TABLE dead_letters ALTER COLUMN "offset" DROP NOT NULL')
