"""Ranges of records that Kafka lost before a worker read them, and the relay's progress in publishing them again."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE lost_ranges (
          consumer TEXT NOT NULL,
          topic TEXT NOT NULL,
          partition INTEGER NOT NULL,
          from_offset BIGINT NOT NULL,
          until_offset BIGINT NOT NULL,
          resend_id UUID NOT NULL,
          found_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          resent_from BIGINT,
          cursor UUID,
          searched_at TIMESTAMP WITH TIME ZONE,
          finished_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT lost_ranges_pkey PRIMARY KEY (consumer, topic, partition),
          CONSTRAINT lost_ranges_range_ordered CHECK (from_offset >= 0 and from_offset <= until_offset),
          CONSTRAINT lost_ranges_finished_when_searched CHECK (finished_at is null or searched_at is not null)
        )
    """)

    op.execute("CREATE INDEX lost_ranges_open_idx ON lost_ranges (consumer, topic) WHERE finished_at is null")

    op.execute("""
        CREATE TABLE lost_events (
          consumer TEXT NOT NULL,
          event_id UUID NOT NULL,
          topic TEXT NOT NULL,
          sent_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT lost_events_pkey PRIMARY KEY (consumer, event_id)
        )
    """)

    op.execute("""
        CREATE TABLE seen_topics (
          topic TEXT NOT NULL,
          topic_id TEXT NOT NULL,
          ends BIGINT[] NOT NULL,
          CONSTRAINT seen_topics_pkey PRIMARY KEY (topic)
        )
    """)
