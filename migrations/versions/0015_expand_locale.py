"""The locale of a contact and of each message, which decides the language and format of the text."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE contacts ADD COLUMN locale TEXT")
    op.execute("ALTER TABLE notifications ADD COLUMN locale TEXT")
