"""${message}

Named expand_ (old code runs on the new schema) or contract_ (nothing uses what goes any more); one change each.
A contract has `oldest_code`: the revision of the oldest release that does not use what goes.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
