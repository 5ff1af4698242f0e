"""Offset replays: ranges of offsets that are read again, and leads that such a replay holds back."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE offset_replays (
          id UUID NOT NULL,
          consumer TEXT NOT NULL,
          topic TEXT NOT NULL,
          partition INTEGER NOT NULL,
          from_offset BIGINT NOT NULL,
          until_offset BIGINT NOT NULL,
          effects TEXT NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          finished_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT offset_replays_pkey PRIMARY KEY (id, topic, partition),
          CONSTRAINT offset_replays_effects_known CHECK (effects in ('suppressed', 'allowed')),
          CONSTRAINT offset_replays_range_not_empty CHECK (from_offset >= 0 and from_offset < until_offset)
        )
    """)

    op.execute("""
        CREATE UNIQUE INDEX offset_replays_open_idx ON offset_replays (consumer, topic, partition) WHERE finished_at is null
    """)

    op.execute("ALTER TABLE leads ADD COLUMN suppressed TEXT")

    op.execute("""
        ALTER TABLE leads
          ADD CONSTRAINT leads_suppressed_while_undelivered
            CHECK (suppressed is null or status in ('received', 'delivering', 'retrying')) NOT VALID,
          ADD CONSTRAINT leads_due_unless_suppressed
            CHECK ((status in ('received', 'delivering', 'retrying') and suppressed is null) = (next_attempt_at is not null)) NOT VALID,
          DROP CONSTRAINT leads_due_while_undelivered
    """)

    op.execute("ALTER TABLE leads VALIDATE CONSTRAINT leads_suppressed_while_undelivered")

    op.execute("ALTER TABLE leads VALIDATE CONSTRAINT leads_due_unless_suppressed")
