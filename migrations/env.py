"""Alembic's entry: migrates over the connection that its caller hands in."""

from alembic import context

import projections.config_tables
import projections.leads
import projections.notifications
import projections.search
import projections.tables  # noqa: F401  # declares its tables on the shared metadata
from outbox.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
