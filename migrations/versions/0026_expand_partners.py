"""The partners that operators add while everything runs; their secrets are sealed."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE partners (
          id TEXT NOT NULL,
          terms JSONB NOT NULL,
          sealed BYTEA NOT NULL,
          key_id TEXT NOT NULL,
          version BIGINT NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          updated_by TEXT NOT NULL,
          CONSTRAINT partners_pkey PRIMARY KEY (id),
          CONSTRAINT partners_version_positive CHECK (version > 0)
        )
    """)
