"""Fetches from Stripe's API: the objects that thin events name, and objects whose events cannot be ordered."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE stripe_fetches (
          event_id UUID NOT NULL,
          kind TEXT NOT NULL,
          object_id TEXT NOT NULL,
          why TEXT NOT NULL,
          cause TEXT NOT NULL,
          after BIGINT NOT NULL,
          context TEXT,
          account TEXT,
          livemode BOOLEAN,
          traceparent TEXT NOT NULL,
          attempts INTEGER DEFAULT 0 NOT NULL,
          next_attempt_at TIMESTAMP WITH TIME ZONE,
          outcome TEXT,
          reason TEXT,
          CONSTRAINT stripe_fetches_pkey PRIMARY KEY (event_id, kind, object_id),
          CONSTRAINT stripe_fetches_why_known CHECK (why in ('thin', 'order')),
          CONSTRAINT stripe_fetches_outcome_known CHECK (outcome in ('fetched', 'gone', 'empty', 'given_up')),
          CONSTRAINT stripe_fetches_due_until_settled CHECK ((next_attempt_at is null) = (outcome is not null)),
          CONSTRAINT stripe_fetches_attempts_not_negative CHECK (attempts >= 0)
        )
    """)
    op.execute("CREATE INDEX stripe_fetches_due_idx ON stripe_fetches (next_attempt_at) WHERE next_attempt_at is not null")
