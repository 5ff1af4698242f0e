"""Tasks: the state of each command."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tasks (
          id UUID NOT NULL,
          kind TEXT NOT NULL,
          status TEXT DEFAULT 'pending' NOT NULL,
          created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
          settled_at TIMESTAMP WITH TIME ZONE,
          result JSONB,
          reason TEXT,
          CONSTRAINT tasks_pkey PRIMARY KEY (id),
          CONSTRAINT tasks_status_known CHECK (status in ('pending', 'done', 'failed')),
          CONSTRAINT tasks_settled_with_time CHECK ((status = 'pending') = (settled_at is null)),
          CONSTRAINT tasks_done_with_result CHECK ((status = 'done') = (result is not null)),
          CONSTRAINT tasks_failed_with_reason CHECK ((status = 'failed') = (reason is not null))
        ) PARTITION BY RANGE (id)
    """)
