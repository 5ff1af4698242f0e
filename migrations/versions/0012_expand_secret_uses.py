"""Counts of the use of each live secret, so that an operator can see when an old one may be removed."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE secret_uses (
          setting TEXT NOT NULL,
          secret_id TEXT NOT NULL,
          slot TIMESTAMP WITH TIME ZONE NOT NULL,
          uses BIGINT NOT NULL,
          first_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
          last_used_at TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT secret_uses_pkey PRIMARY KEY (setting, secret_id, slot),
          CONSTRAINT secret_uses_uses_positive CHECK (uses > 0),
          CONSTRAINT secret_uses_first_before_last CHECK (first_used_at <= last_used_at)
        )
    """)
