"""How often in a row the attempts of a lead ended with their worker, so that one which causes it is given up."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE leads ADD COLUMN interruptions INTEGER DEFAULT 0 NOT NULL")
    op.execute("ALTER TABLE leads ADD CONSTRAINT leads_interruptions_not_negative CHECK (interruptions >= 0)")
