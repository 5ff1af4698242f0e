"""The number of attempts in a row that ended with the death of their worker, so that a lead which causes it is not retried."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE leads ADD COLUMN interruptions INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE leads ADD CONSTRAINT leads_interruptions_not_negative CHECK (interruptions >= 0)")
