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

# Offsets of a worker's group that were moved back, until they are read past: events of the range were handled once, so what they
# did outside is not done again unless `effects` allows it. One open range a partition.
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
