"""The erasures: their subjects as digests, and their progress."""

from sqlalchemy import CheckConstraint, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from outbox.tables import metadata

# The subject is stored only as a digest, which shows whether a given subject was erased.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("stage", Text, nullable=False, server_default=text("'searching'")),
    Column("erased", JSONB, nullable=False, server_default=text("'{}'")),
    # Rows that could not be erased yet: events that Kafka does not have, and leads and messages that are being sent.
    Column("waiting", Integer, nullable=False, server_default=text("0")),
    # The time until which Kafka holds copies of erased events.
    Column("kafka_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("touched_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("finished_at", DateTime(timezone=True)),
    Column("failure", Text),
    CheckConstraint("state in ('running', 'done', 'incomplete', 'failed')", name="state_known"),
    CheckConstraint("(state = 'running') = (finished_at is null)", name="finished_with_time"),
    CheckConstraint("state <> 'done' or waiting = 0", name="done_without_waiting"),
    CheckConstraint("(state = 'failed') = (failure is not null)", name="failed_with_failure"),
)
