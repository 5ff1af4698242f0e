"""Records that Kafka lost before a worker read them, and the progress of the relay in sending them again."""

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
from sqlalchemy.dialects.postgresql import ARRAY

from outbox.tables import metadata

# The last gap of each partition, per consumer: its records from `from_offset` up to, but not including, `until_offset` were not
# read and are lost. `cursor` is the event up to which the log was searched for events without a mark, null before the search.
# These are sent again, at offsets from `resent_from` on. The gap is open until all of them have their marks.
lost_ranges = Table(
    "lost_ranges",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("from_offset", BigInteger, nullable=False),
    Column("until_offset", BigInteger, nullable=False),
    Column("resend_id", Uuid, nullable=False),
    Column("found_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("resent_from", BigInteger),
    Column("cursor", Uuid),
    Column("searched_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("consumer", "topic", "partition"),
    CheckConstraint("from_offset >= 0 and from_offset <= until_offset", name="range_ordered"),
    CheckConstraint("finished_at is null or searched_at is not null", name="finished_when_searched"),
    Index("lost_ranges_open_idx", "consumer", "topic", postgresql_where=text("finished_at is null")),
)

# Events that were sent again and have no mark of the consumer yet.
lost_events = Table(
    "lost_events",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("topic", Text, nullable=False),
    Column("sent_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("consumer", "event_id"),
)

# Kafka's topics as the relay saw them last: `topic_id` changes when a topic is created again, an end decreases with a loss.
seen_topics = Table(
    "seen_topics",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("topic_id", Text, nullable=False),
    Column("ends", ARRAY(BigInteger), nullable=False),
)
