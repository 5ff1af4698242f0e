"""Migrations that removed something, and the oldest code that may still run after them."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE schema_contracts (
          revision TEXT NOT NULL,
          oldest_code TEXT NOT NULL,
          applied_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT schema_contracts_pkey PRIMARY KEY (revision)
        )
    """)
