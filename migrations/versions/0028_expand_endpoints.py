"""The endpoints of providers that operators add while everything runs, and the endpoint by which a delivery came."""

from alembic import op

from migrations.days import with_detached

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the log, since intake would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE endpoints (
          id TEXT NOT NULL,
          terms JSONB NOT NULL,
          sealed BYTEA NOT NULL,
          key_id TEXT NOT NULL,
          version BIGINT NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE NOT NULL,
          updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
          updated_by TEXT NOT NULL,
          CONSTRAINT endpoints_pkey PRIMARY KEY (id),
          CONSTRAINT endpoints_version_positive CHECK (version > 0)
        )
    """)
    for table in with_detached(op.get_bind(), "webhook_deliveries"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN endpoint TEXT")
