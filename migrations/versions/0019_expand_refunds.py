"""Refunds and disputes as aggregates of their own."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE refunds (
          provider TEXT NOT NULL,
          id TEXT NOT NULL,
          status TEXT NOT NULL,
          amount BIGINT NOT NULL,
          currency TEXT NOT NULL,
          reason TEXT,
          failure_reason TEXT,
          payment_id TEXT,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          state BYTEA NOT NULL,
          CONSTRAINT refunds_pkey PRIMARY KEY (id, provider),
          CONSTRAINT refunds_amount_not_negative CHECK (amount >= 0)
        )
    """)
    op.execute("CREATE INDEX refunds_payment_id_idx ON refunds (payment_id)")
    op.execute("""
        CREATE TABLE disputes (
          provider TEXT NOT NULL,
          id TEXT NOT NULL,
          status TEXT NOT NULL,
          amount BIGINT NOT NULL,
          currency TEXT NOT NULL,
          reason TEXT,
          funds TEXT,
          respond_by TIMESTAMP WITH TIME ZONE,
          payment_id TEXT,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          state BYTEA NOT NULL,
          CONSTRAINT disputes_pkey PRIMARY KEY (id, provider),
          CONSTRAINT disputes_amount_not_negative CHECK (amount >= 0),
          CONSTRAINT disputes_funds_known CHECK (funds in ('withdrawn', 'reinstated'))
        )
    """)
    op.execute("CREATE INDEX disputes_payment_id_idx ON disputes (payment_id)")
