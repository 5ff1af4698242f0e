"""The sweep of the ledger, the outcome of dead letters, and leads that are no longer retried."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE dead_letters
          ADD COLUMN earlier_id UUID,
          ADD COLUMN settled_at TIMESTAMP WITH TIME ZONE,
          ADD COLUMN settled_by TEXT,
          ADD COLUMN discard_reason TEXT
    """)

    op.execute("""
        UPDATE dead_letters
        SET settled_at = now(), discard_reason = CASE status WHEN 'discarded' THEN 'discarded before reasons were kept' END
        WHERE status <> 'open'
    """)

    op.execute("""
        ALTER TABLE dead_letters
          ADD CONSTRAINT dead_letters_settled_with_time CHECK ((status = 'open') = (settled_at is null)),
          ADD CONSTRAINT dead_letters_discarded_with_reason CHECK ((status = 'discarded') = (discard_reason is not null))
    """)

    op.execute("CREATE INDEX dead_letters_created_at_idx ON dead_letters (created_at, id)")
    op.execute("CREATE INDEX dead_letters_event_id_idx ON dead_letters (event_id) WHERE event_id is not null")
    op.execute("CREATE INDEX dead_letters_open_idx ON dead_letters (consumer, reason) WHERE status = 'open'")
    op.execute(
        "CREATE INDEX dead_letters_unread_idx ON dead_letters (consumer, topic) WHERE status = 'retried' and event_id is null"
    )

    op.execute("""
        CREATE TABLE ledger_findings (
          event_id UUID NOT NULL,
          source TEXT NOT NULL,
          kind TEXT NOT NULL,
          since TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT ledger_findings_pkey PRIMARY KEY (event_id),
          CONSTRAINT ledger_findings_kind_known CHECK (kind in ('in_flight', 'parked', 'missing', 'unlogged'))
        )
    """)

    op.execute("""
        CREATE TABLE ledger_sweeps (
          id SMALLINT DEFAULT 1 NOT NULL,
          swept_to TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT ledger_sweeps_pkey PRIMARY KEY (id),
          CONSTRAINT ledger_sweeps_one_row CHECK (id = 1)
        )
    """)

    op.execute("""
        CREATE TABLE lead_discards (
          lead_id UUID NOT NULL,
          reason TEXT NOT NULL,
          discarded_by TEXT NOT NULL,
          discarded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT lead_discards_pkey PRIMARY KEY (lead_id)
        )
    """)

    op.execute("""
        CREATE INDEX leads_set_aside_idx ON leads (updated_at, id) WHERE status in ('exhausted', 'rejected')
    """)
