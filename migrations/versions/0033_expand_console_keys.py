"""The keys of the console: sessions of browsers, and the links that open one."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE console_keys (
          digest BYTEA NOT NULL,
          kind TEXT NOT NULL,
          role TEXT NOT NULL,
          secret_id TEXT NOT NULL,
          expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT console_keys_pkey PRIMARY KEY (digest),
          CONSTRAINT console_keys_kind_known CHECK (kind in ('session', 'link')),
          CONSTRAINT console_keys_role_known CHECK (role in ('admin', 'reader'))
        )
    """)
    op.execute("CREATE INDEX console_keys_expires_at_idx ON console_keys (expires_at)")
