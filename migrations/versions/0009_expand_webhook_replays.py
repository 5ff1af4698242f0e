"""Replays of webhooks, and the delivery that a replay made of a rejected one."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE webhook_replays (
          id UUID NOT NULL,
          state TEXT DEFAULT 'running' NOT NULL,
          requested_by TEXT NOT NULL,
          reason TEXT,
          filters JSONB NOT NULL,
          rate DOUBLE PRECISION NOT NULL,
          matched INTEGER DEFAULT 0 NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          finished_at TIMESTAMP WITH TIME ZONE,
          failure TEXT,
          CONSTRAINT webhook_replays_pkey PRIMARY KEY (id),
          CONSTRAINT webhook_replays_state_known CHECK (state in ('running', 'done', 'failed', 'cancelled')),
          CONSTRAINT webhook_replays_finished_with_time CHECK ((state = 'running') = (finished_at is null)),
          CONSTRAINT webhook_replays_failure_of_failed_only CHECK (failure is null or state = 'failed'),
          CONSTRAINT webhook_replays_rate_positive CHECK (rate > 0)
        )
    """)
    op.execute("CREATE INDEX webhook_replays_running_idx ON webhook_replays (id) WHERE state = 'running'")

    op.execute("""
        CREATE TABLE webhook_replay_items (
          replay_id UUID NOT NULL,
          n INTEGER NOT NULL,
          delivery_id UUID NOT NULL,
          source TEXT NOT NULL,
          type TEXT,
          outcome TEXT NOT NULL,
          event_id UUID,
          state TEXT DEFAULT 'waiting' NOT NULL,
          reason TEXT,
          enqueued_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT webhook_replay_items_pkey PRIMARY KEY (replay_id, n),
          CONSTRAINT webhook_replay_items_replay_id_fkey FOREIGN KEY (replay_id) REFERENCES webhook_replays (id) ON DELETE CASCADE,
          CONSTRAINT webhook_replay_items_state_known CHECK (state in ('waiting', 'sent', 'processed', 'unchanged', 'failed')),
          CONSTRAINT webhook_replay_items_failed_with_reason CHECK (state <> 'failed' or reason is not null),
          CONSTRAINT webhook_replay_items_waiting_is_not_enqueued CHECK (state <> 'waiting' or enqueued_at is null),
          CONSTRAINT webhook_replay_items_sent_whole
            CHECK (state <> 'sent' or (enqueued_at is not null and event_id is not null))
        )
    """)
    op.execute("""
        CREATE INDEX webhook_replay_items_open_idx ON webhook_replay_items (replay_id, state, n)
        WHERE state in ('waiting', 'sent')
    """)

    # Does not wait for readers of the delivery log, since intake would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE webhook_deliveries ADD COLUMN recovered_as UUID")
    op.execute("""
        ALTER TABLE webhook_deliveries ADD CONSTRAINT webhook_deliveries_recovered_if_rejected
          CHECK (recovered_as is null or outcome = 'rejected') NOT VALID
    """)
    op.execute("ALTER TABLE webhook_deliveries VALIDATE CONSTRAINT webhook_deliveries_recovered_if_rejected")

    op.execute("CREATE INDEX outbox_pending_replay_id_idx ON outbox_pending (replay_id) WHERE replay_id is not null")
