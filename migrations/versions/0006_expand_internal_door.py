"""Idempotency keys, the audit log and runtime configuration."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE audit_log (
          id UUID NOT NULL,
          role TEXT,
          secret_id TEXT,
          method TEXT NOT NULL,
          path TEXT NOT NULL,
          status SMALLINT NOT NULL,
          reason TEXT,
          trace_id TEXT NOT NULL,
          duration_ms INTEGER NOT NULL,
          client TEXT,
          CONSTRAINT audit_log_pkey PRIMARY KEY (id),
          CONSTRAINT audit_log_role_known CHECK (role in ('service', 'admin')),
          CONSTRAINT audit_log_caller_whole CHECK ((role is null) = (secret_id is null))
        ) PARTITION BY RANGE (id)
    """)
    op.execute("""
        CREATE TABLE idempotency_keys (
          scope TEXT NOT NULL,
          key TEXT NOT NULL,
          digest BYTEA NOT NULL,
          call_id UUID NOT NULL,
          claimed_until TIMESTAMP WITH TIME ZONE NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          status SMALLINT,
          body BYTEA,
          content_type TEXT,
          CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key),
          CONSTRAINT idempotency_keys_answer_whole
            CHECK ((status is null) = (body is null) and (status is null) = (content_type is null))
        )
    """)
    op.execute("CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at)")
    op.execute("""
        CREATE TABLE config (
          key TEXT NOT NULL,
          value JSONB NOT NULL,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT config_pkey PRIMARY KEY (key),
          CONSTRAINT config_version_positive CHECK (version > 0)
        )
    """)
    op.execute("""
        CREATE TABLE config_history (
          key TEXT NOT NULL,
          version BIGINT NOT NULL,
          value JSONB NOT NULL,
          id UUID NOT NULL,
          changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          changed_by TEXT NOT NULL,
          CONSTRAINT config_history_pkey PRIMARY KEY (key, version),
          CONSTRAINT config_history_id_key UNIQUE (id)
        )
    """)
