"""The findings of the ledger's sweep, and how far it is."""

from sqlalchemy import CheckConstraint, Column, DateTime, SmallInteger, Table, Text, Uuid, text

from outbox.tables import metadata

# What the ledger's sweep found and follows until it is settled: webhooks in flight for long, and rows that miss their other half.
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

# One row: what came before is swept.
ledger_sweeps = Table(
    "ledger_sweeps",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("swept_to", DateTime(timezone=True), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
