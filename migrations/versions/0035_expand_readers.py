"""The role of readers in the audit log."""

from alembic import op

from migrations.days import with_detached

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Does not wait for readers of the log: it fails and can be run again.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in with_detached(op.get_bind(), "audit_log"):
        op.execute(f"""
            ALTER TABLE {table}
              DROP CONSTRAINT audit_log_role_known,
              ADD CONSTRAINT audit_log_role_known CHECK (role in ('service', 'admin', 'reader'))
        """)
