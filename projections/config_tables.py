"""The runtime configuration: the current value of each key, and its history."""

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, PrimaryKeyConstraint, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from outbox.hints import notify_changes
from outbox.tables import metadata

config = Table(
    "config",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    CheckConstraint("version > 0", name="version_positive"),
)
notify_changes(config)

# `id` is that of the `config.changed` event, which is the id of the call that made the change: one call makes one change.
config_history = Table(
    "config_history",
    metadata,
    Column("key", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("value", JSONB, nullable=False),
    Column("id", Uuid, nullable=False, unique=True),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("changed_by", Text, nullable=False),
    PrimaryKeyConstraint("key", "version"),
)
