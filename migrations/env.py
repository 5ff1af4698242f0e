"""
The entry point of Alembic: it migrates over the connection of its caller.

A contract migration names in `oldest_code` the oldest release that does not use the removed parts. It is recorded in the same
transaction.
"""

from pathlib import Path
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import insert

import projections.alert_tables
import projections.config_tables
import projections.endpoint_tables
import projections.leads
import projections.notifications
import projections.partner_tables
import projections.search_tables
import projections.stripe_fetches
import projections.tables  # noqa: F401  # each declares its tables on the shared metadata
from outbox.tables import metadata, schema_contracts


def note_contract(ctx: Any, step: MigrationInfo, heads: Any, run_args: Any) -> None:
    """Record the oldest code that may run after a contract migration."""
    del heads, run_args
    script = context.script.get_revision(step.up_revision_id or "")
    if Path(script.path).stem.startswith(f"{script.revision}_contract_"):
        values = {"revision": script.revision, "oldest_code": script.module.oldest_code}
        ctx.connection.execute(insert(schema_contracts).values(values))


context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, on_version_apply=note_contract)
with context.begin_transaction():
    context.run_migrations()
