"""The circuit breaker of each partner: its state, its times, and the request for a probe."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE lead_breakers (
          partner TEXT NOT NULL,
          opened_at TIMESTAMP WITH TIME ZONE,
          probe_at TIMESTAMP WITH TIME ZONE,
          failures INTEGER DEFAULT 0 NOT NULL,
          error TEXT,
          tried_at TIMESTAMP WITH TIME ZONE,
          asked_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT lead_breakers_pkey PRIMARY KEY (partner),
          CONSTRAINT lead_breakers_open_until_probe CHECK ((opened_at is null) = (probe_at is null))
        )
    """)
