"""Partner leads and their deliveries."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE leads (
          id UUID NOT NULL,
          partner TEXT NOT NULL,
          partner_id TEXT NOT NULL,
          external_lead_id TEXT NOT NULL,
          status TEXT NOT NULL,
          payload BYTEA NOT NULL,
          traceparent TEXT NOT NULL,
          received_at TIMESTAMP WITH TIME ZONE NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          version INTEGER NOT NULL,
          attempts INTEGER DEFAULT 0 NOT NULL,
          failures INTEGER DEFAULT 0 NOT NULL,
          next_attempt_at TIMESTAMP WITH TIME ZONE,
          task_ids UUID[] DEFAULT '{}' NOT NULL,
          CONSTRAINT leads_pkey PRIMARY KEY (id),
          CONSTRAINT leads_status_known CHECK (status in ('received', 'delivering', 'retrying', 'delivered', 'exhausted', 'rejected')),
          CONSTRAINT leads_due_while_undelivered CHECK ((status in ('received', 'delivering', 'retrying')) = (next_attempt_at is not null)),
          CONSTRAINT leads_failures_are_attempts CHECK (attempts >= failures and failures >= 0)
        )
    """)

    op.execute("""
        CREATE INDEX leads_due_idx ON leads (partner, next_attempt_at) WHERE next_attempt_at IS NOT NULL
    """)

    op.execute("""
        CREATE TABLE lead_attempts (
          lead_id UUID NOT NULL,
          attempt INTEGER NOT NULL,
          started_at TIMESTAMP WITH TIME ZONE NOT NULL,
          ended_at TIMESTAMP WITH TIME ZONE,
          status INTEGER,
          error TEXT,
          excerpt TEXT,
          next_attempt_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT lead_attempts_pkey PRIMARY KEY (lead_id, attempt),
          CONSTRAINT lead_attempts_outcome_when_ended CHECK (ended_at is not null or (status is null and error is null))
        )
    """)

    op.execute("""
        CREATE TABLE lead_keys (
          partner TEXT NOT NULL,
          key TEXT NOT NULL,
          digest BYTEA NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT lead_keys_pkey PRIMARY KEY (partner, key)
        )
    """)
