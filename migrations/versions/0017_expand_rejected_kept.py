"""The rejected deliveries that are kept, by worth and client, so that a worthier one can replace another."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE rejected_kept (
          source TEXT NOT NULL,
          hour TIMESTAMP WITH TIME ZONE NOT NULL,
          id UUID NOT NULL,
          client TEXT NOT NULL,
          worth SMALLINT NOT NULL,
          CONSTRAINT rejected_kept_pkey PRIMARY KEY (hour, source, id)
        )
    """)
