"""Payments, subscriptions, invoices, their history and the reconciliation of expected and paid."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE payments (
          provider TEXT NOT NULL,
          id TEXT NOT NULL,
          status TEXT NOT NULL,
          amount BIGINT NOT NULL,
          amount_refunded BIGINT NOT NULL,
          currency TEXT NOT NULL,
          reference TEXT NOT NULL,
          customer_id TEXT,
          user_id TEXT,
          invoice_id TEXT,
          subscription_id TEXT,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          state BYTEA NOT NULL,
          CONSTRAINT payments_pkey PRIMARY KEY (id, provider),
          CONSTRAINT payments_status_known CHECK (status in ('pending', 'processing', 'succeeded', 'failed', 'canceled', 'partially_refunded', 'refunded')),
          CONSTRAINT payments_refunded_with_amount CHECK ((status in ('partially_refunded', 'refunded')) = (amount_refunded > 0)),
          CONSTRAINT payments_amounts_not_negative CHECK (amount >= 0 and amount_refunded >= 0)
        )
    """)

    op.execute("""
        CREATE TABLE subscriptions (
          provider TEXT NOT NULL,
          id TEXT NOT NULL,
          status TEXT NOT NULL,
          customer_id TEXT,
          current_period_end TIMESTAMP WITH TIME ZONE,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          state BYTEA NOT NULL,
          CONSTRAINT subscriptions_pkey PRIMARY KEY (id, provider)
        )
    """)

    op.execute("""
        CREATE TABLE invoices (
          provider TEXT NOT NULL,
          id TEXT NOT NULL,
          status TEXT NOT NULL,
          amount_due BIGINT NOT NULL,
          amount_paid BIGINT NOT NULL,
          currency TEXT NOT NULL,
          customer_id TEXT,
          subscription_id TEXT,
          payment_id TEXT,
          version BIGINT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          state BYTEA NOT NULL,
          CONSTRAINT invoices_pkey PRIMARY KEY (id, provider),
          CONSTRAINT invoices_status_known CHECK (status in ('draft', 'open', 'paid', 'payment_failed', 'void', 'uncollectible'))
        )
    """)

    op.execute("""
        CREATE TABLE history (
          aggregate_type TEXT NOT NULL,
          aggregate_id TEXT NOT NULL,
          event_id UUID NOT NULL,
          provider_event_id TEXT NOT NULL,
          type TEXT NOT NULL,
          occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT history_pkey PRIMARY KEY (aggregate_id, aggregate_type, event_id)
        )
    """)

    op.execute("""
        CREATE TABLE reconciliations (
          reference TEXT NOT NULL,
          expected_amount BIGINT,
          expected_currency TEXT,
          user_id TEXT,
          paid_amount BIGINT,
          paid_currency TEXT,
          payment_id TEXT,
          outcome TEXT GENERATED ALWAYS AS (case when paid_amount is null then 'awaited' when expected_amount is null then 'unexpected' when paid_amount = expected_amount and paid_currency = expected_currency then 'matched' else 'mismatched' end) STORED NOT NULL,
          CONSTRAINT reconciliations_pkey PRIMARY KEY (reference),
          CONSTRAINT reconciliations_expected_whole CHECK ((expected_amount is null) = (expected_currency is null)),
          CONSTRAINT reconciliations_paid_whole CHECK ((paid_amount is null) = (paid_currency is null) and (paid_amount is null) = (payment_id is null)),
          CONSTRAINT reconciliations_not_empty CHECK (expected_amount is not null or paid_amount is not null)
        )
    """)

    op.execute("""
        CREATE INDEX reconciliations_payment_id_idx ON reconciliations (payment_id)
    """)
