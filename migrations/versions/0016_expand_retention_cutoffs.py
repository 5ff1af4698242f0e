"""The day up to which retention has deleted, and the days that it has detached and not dropped yet."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE retention_cutoffs (
          kind TEXT NOT NULL,
          cutoff TIMESTAMP WITH TIME ZONE NOT NULL,
          moved_at TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT retention_cutoffs_pkey PRIMARY KEY (kind)
        )
    """)

    op.execute("""
        CREATE TABLE detached_partitions (
          partition TEXT NOT NULL,
          detached_at TIMESTAMP WITH TIME ZONE NOT NULL,
          CONSTRAINT detached_partitions_pkey PRIMARY KEY (partition)
        )
    """)
