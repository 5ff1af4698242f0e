"""The rejected deliveries that are kept, within a bound for each source and hour."""

from sqlalchemy import BigInteger, Column, DateTime, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, text

from outbox.tables import metadata

# How many rejected deliveries of a source were kept in an hour: the bound on what a stranger can make us store.
rejected_quota = Table(
    "rejected_quota",
    metadata,
    Column("source", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("kept", Integer, nullable=False),
    Column("refused", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("source", "hour"),
)

# The kept ones, with the columns that decide which of them is replaced by a worthier one within its hour.
rejected_kept = Table(
    "rejected_kept",
    metadata,
    Column("source", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("client", Text, nullable=False),
    Column("worth", SmallInteger, nullable=False),
    PrimaryKeyConstraint("hour", "source", "id"),
)
