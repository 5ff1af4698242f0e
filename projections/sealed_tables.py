"""The shape of the tables whose rows `projections/sealed_rows.py` opens."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from outbox.hints import notify_changes
from outbox.tables import metadata


def sealed_table(name: str) -> Table:
    """Declare the table of one kind of row."""
    table = Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        Column("terms", JSONB, nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("key_id", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("updated_at", DateTime(timezone=True), nullable=False),
        Column("updated_by", Text, nullable=False),
        CheckConstraint("version > 0", name="version_positive"),
    )
    notify_changes(table)
    return table
