"""The time at which a consumer had the effects of an event."""

from alembic import op

from migrations.days import with_detached

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the marks, since workers would wait behind it: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in with_detached(op.get_bind(), "consumed"):
        # In two steps: a default that comes with the column would be the time of every mark that there is.
        op.execute(f"ALTER TABLE {table} ADD COLUMN at TIMESTAMP WITH TIME ZONE")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN at SET DEFAULT now()")
