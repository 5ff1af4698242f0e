"""The log, the relay's work list, deduplication, the delivery log, consumed marks and dead letters."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE SEQUENCE outbox_pending_id_seq CACHE 1
    """)

    op.execute("""
        CREATE TABLE outbox (
          id UUID NOT NULL,
          topic TEXT NOT NULL,
          aggregate_type TEXT NOT NULL,
          aggregate_id TEXT NOT NULL,
          aggregate_version BIGINT,
          source TEXT NOT NULL,
          type TEXT NOT NULL,
          dataschema TEXT NOT NULL,
          occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
          traceparent TEXT NOT NULL,
          causation_id UUID,
          data BYTEA NOT NULL,
          CONSTRAINT outbox_pkey PRIMARY KEY (id)
        ) PARTITION BY RANGE (id)
    """)

    op.execute("""
        CREATE INDEX outbox_causation_id_idx ON outbox (causation_id) WHERE causation_id is not null
    """)

    op.execute("""
        CREATE TABLE outbox_pending (
          id BIGINT DEFAULT nextval('outbox_pending_id_seq') NOT NULL,
          event_id UUID NOT NULL,
          shard SMALLINT NOT NULL,
          replay_id UUID,
          parked_at TIMESTAMP WITH TIME ZONE,
          reason TEXT,
          CONSTRAINT outbox_pending_pkey PRIMARY KEY (id),
          CONSTRAINT outbox_pending_shard_in_range CHECK (shard >= 0 and shard < 64),
          CONSTRAINT outbox_pending_parked_with_reason CHECK ((parked_at is null) = (reason is null))
        )
    """)

    op.execute("""
        CREATE TABLE dedup (
          source TEXT NOT NULL,
          provider_event_id TEXT NOT NULL,
          event_id UUID NOT NULL,
          digest BYTEA,
          CONSTRAINT dedup_pkey PRIMARY KEY (source, provider_event_id)
        )
    """)

    op.execute("""
        CREATE UNIQUE INDEX dedup_source_digest_key ON dedup (source, digest) WHERE digest is not null
    """)

    op.execute("""
        CREATE TABLE webhook_deliveries (
          id UUID NOT NULL,
          source TEXT NOT NULL,
          provider_event_id TEXT,
          type TEXT,
          outcome TEXT NOT NULL,
          reason TEXT,
          event_id UUID,
          trace_id TEXT NOT NULL,
          secret_id TEXT,
          client TEXT,
          headers JSONB,
          body BYTEA,
          CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
          CONSTRAINT webhook_deliveries_outcome_known CHECK (outcome in ('accepted', 'duplicate', 'ignored', 'rejected')),
          CONSTRAINT webhook_deliveries_rejected_with_reason CHECK ((outcome = 'rejected') = (reason is not null)),
          CONSTRAINT webhook_deliveries_body_of_rejected_only CHECK (outcome = 'rejected' or body is null)
        ) PARTITION BY RANGE (id)
    """)

    op.execute("""
        CREATE TABLE rejected_quota (
          source TEXT NOT NULL,
          hour TIMESTAMP WITH TIME ZONE NOT NULL,
          kept INTEGER NOT NULL,
          refused BIGINT DEFAULT 0 NOT NULL,
          CONSTRAINT rejected_quota_pkey PRIMARY KEY (source, hour)
        )
    """)

    op.execute("""
        CREATE TABLE consumed (
          event_id UUID NOT NULL,
          consumer TEXT NOT NULL,
          CONSTRAINT consumed_pkey PRIMARY KEY (event_id, consumer)
        ) PARTITION BY RANGE (event_id)
    """)

    op.execute("""
        CREATE TABLE dead_letters (
          id UUID NOT NULL,
          consumer TEXT NOT NULL,
          reason TEXT NOT NULL,
          detail TEXT NOT NULL,
          topic TEXT NOT NULL,
          partition INTEGER NOT NULL,
          "offset" BIGINT NOT NULL,
          key BYTEA,
          value BYTEA,
          headers JSONB NOT NULL,
          event_id UUID,
          trace_id TEXT,
          status TEXT DEFAULT 'open' NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
          CONSTRAINT dead_letters_status_known CHECK (status in ('open', 'retried', 'discarded')),
          CONSTRAINT dead_letters_consumer_topic_partition_offset_key UNIQUE (consumer, topic, partition, "offset")
        )
    """)
