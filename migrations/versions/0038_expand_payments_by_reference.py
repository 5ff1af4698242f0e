"""
The index of payments by their reference: an unpaid payment is linked with its expectation by that alone.

It is made while the table is written to, outside of a transaction. One that an interrupted migration left behind is not valid and
is made anew.
"""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_reference_idx")
        op.execute("CREATE INDEX CONCURRENTLY payments_reference_idx ON payments (reference)")
