"""The alerts that wait for the operators' web hook."""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE alert_webhooks (
          id UUID NOT NULL,
          body BYTEA NOT NULL,
          attempts INTEGER NOT NULL,
          next_attempt_at TIMESTAMP WITH TIME ZONE NOT NULL,
          error TEXT,
          CONSTRAINT alert_webhooks_pkey PRIMARY KEY (id)
        )
    """)
