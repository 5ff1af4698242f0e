"""Erasures: time, reason, operator and number of rows; the subject is kept as a digest only."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE erasures (
          id UUID NOT NULL,
          kind TEXT NOT NULL,
          subject BYTEA NOT NULL,
          reason TEXT NOT NULL,
          requested_by TEXT NOT NULL,
          state TEXT DEFAULT 'running' NOT NULL,
          stage TEXT DEFAULT 'searching' NOT NULL,
          erased JSONB DEFAULT '{}' NOT NULL,
          waiting INTEGER DEFAULT 0 NOT NULL,
          kafka_until TIMESTAMP WITH TIME ZONE,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          touched_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          finished_at TIMESTAMP WITH TIME ZONE,
          failure TEXT,
          CONSTRAINT erasures_pkey PRIMARY KEY (id),
          CONSTRAINT erasures_state_known CHECK (state in ('running', 'done', 'incomplete', 'failed')),
          CONSTRAINT erasures_finished_with_time CHECK ((state = 'running') = (finished_at is null)),
          CONSTRAINT erasures_done_without_waiting CHECK (state <> 'done' or waiting = 0),
          CONSTRAINT erasures_failed_with_failure CHECK ((state = 'failed') = (failure is not null))
        )
    """)
