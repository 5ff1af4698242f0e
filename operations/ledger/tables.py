"""The findings of the ledger's sweep, and its progress."""

from sqlalchemy import CheckConstraint, Column, DateTime, SmallInteger, Table, Text, Uuid, text

from outbox.tables import metadata

# The sweep's findings, which it follows until they are settled: webhooks that stay in flight, and rows without their counterpart.
ledger_findings = Table(
    "ledger_findings",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("endpoint", Text),
    CheckConstraint("kind in ('in_flight', 'parked', 'missing', 'unlogged')", name="kind_known"),
)

# One row: everything before `swept_to` is swept.
ledger_sweeps = Table(
    "ledger_sweeps",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("swept_to", DateTime(timezone=True), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
