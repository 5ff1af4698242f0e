"""Time windows in which the occurrences of alert conditions are counted."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE alert_windows (
          alert TEXT NOT NULL,
          subject TEXT NOT NULL,
          started_at TIMESTAMP WITH TIME ZONE NOT NULL,
          count BIGINT NOT NULL,
          raised_at TIMESTAMP WITH TIME ZONE,
          CONSTRAINT alert_windows_pkey PRIMARY KEY (alert, subject, started_at),
          CONSTRAINT alert_windows_count_positive CHECK (count > 0)
        )
    """)
