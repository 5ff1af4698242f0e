"""
The indexes of the overview and of the statistics, by time.

They are made while the tables are written to, each outside of a transaction. One that an interrupted migration left behind is not
valid and is made anew.
"""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_INDEXES = {
    "alert_windows_raised_idx": "alert_windows (started_at) WHERE raised_at is not null",
    "lead_attempts_started_at_idx": "lead_attempts (started_at)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in _INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")
