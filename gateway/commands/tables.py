"""The answers to calls with an `Idempotency-Key`."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from outbox.tables import metadata

# The answer under each `Idempotency-Key`. A row without an answer is claimed by a call until `claimed_until`, or until the
# process that shows the number `holder` has ended.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("call_id", Uuid, nullable=False),
    Column("claimed_until", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()"), index=True),
    Column("status", SmallInteger),
    Column("body", LargeBinary),
    Column("content_type", Text),
    Column("holder", Integer),
    PrimaryKeyConstraint("scope", "key"),
    CheckConstraint("(status is null) = (body is null) and (status is null) = (content_type is null)", name="answer_whole"),
)
