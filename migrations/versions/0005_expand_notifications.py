"""Notifications, and the contacts to which they are sent."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE notifications (
          id UUID NOT NULL,
          recipient TEXT NOT NULL,
          channel TEXT NOT NULL,
          template TEXT NOT NULL,
          data JSONB NOT NULL,
          address TEXT,
          message_id TEXT NOT NULL,
          status TEXT NOT NULL,
          attempts INTEGER DEFAULT 0 NOT NULL,
          next_attempt_at TIMESTAMP WITH TIME ZONE,
          reason TEXT,
          error TEXT,
          traceparent TEXT NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT notifications_pkey PRIMARY KEY (id),
          CONSTRAINT notifications_channel_known CHECK (channel in ('EMAIL', 'SMS', 'PUSH')),
          CONSTRAINT notifications_status_known CHECK (status in ('queued', 'sending', 'sent', 'failed', 'suppressed')),
          CONSTRAINT notifications_open_with_time CHECK ((status in ('queued', 'sending')) = (next_attempt_at is not null)),
          CONSTRAINT notifications_reachable CHECK (status not in ('queued', 'sending', 'sent') or address is not null),
          CONSTRAINT notifications_ended_with_reason CHECK (status not in ('failed', 'suppressed') or reason is not null)
        )
    """)

    op.execute("""
        CREATE INDEX notifications_channel_next_attempt_at_idx ON notifications (channel, next_attempt_at) WHERE next_attempt_at is not null
    """)

    op.execute("""
        CREATE TABLE contacts (
          user_id TEXT NOT NULL,
          email TEXT,
          phone TEXT,
          push TEXT,
          opt_outs TEXT[] DEFAULT '{}' NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          CONSTRAINT contacts_pkey PRIMARY KEY (user_id),
          CONSTRAINT contacts_opt_outs_known CHECK (opt_outs <@ array['EMAIL', 'SMS', 'PUSH'])
        )
    """)

    op.execute("""
        CREATE INDEX contacts_email_idx ON contacts (email)
    """)

    op.execute("""
        CREATE INDEX contacts_phone_idx ON contacts (phone)
    """)

    op.execute("""
        CREATE INDEX contacts_push_idx ON contacts (push)
    """)
