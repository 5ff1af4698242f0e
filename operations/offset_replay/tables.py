"""The ranges of offsets that a worker reads again."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from outbox.tables import metadata

# Ranges of offsets that a worker's group has to read again. Their events were handled once, so their effects outside Postgres are
# not repeated unless `effects` allows it. Each partition has at most one open range.
offset_replays = Table(
    "offset_replays",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("from_offset", BigInteger, nullable=False),
    Column("until_offset", BigInteger, nullable=False),
    Column("effects", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id", "topic", "partition"),
    CheckConstraint("effects in ('suppressed', 'allowed')", name="effects_known"),
    CheckConstraint("from_offset >= 0 and from_offset < until_offset", name="range_not_empty"),
    Index("offset_replays_open_idx", "consumer", "topic", "partition", unique=True, postgresql_where=text("finished_at is null")),
)
