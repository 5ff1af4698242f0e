"""
The tables of the outbox: log, work list of the relay, deliveries, marks of handled events, dead letters and tasks.

The wide tables are partitioned by the day inside their UUIDv7 key: one rule defines the partition of an id, uniqueness holds
over all partitions, and a lookup by id reads one of them. They have no default partition, so that dropping a day never waits.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from outbox.shards import SHARDS

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("aggregate_type", Text, nullable=False),
    Column("aggregate_id", Text, nullable=False),
    Column("aggregate_version", BigInteger),
    Column("source", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("dataschema", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("causation_id", Uuid),
    Column("data", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    # The provider's endpoint by which a webhook came, if not by the plain path.
    Column("endpoint", Text),
    # Finds the events that an event caused. One from outside has no cause and so no entry: the index costs a webhook nothing.
    Index("outbox_causation_id_idx", "causation_id", postgresql_where=text("causation_id is not null")),
    postgresql_partition_by="RANGE (id)",
)

# CACHE 1: a session that caches numbers would break the order of ids within an aggregate.
pending_id = Sequence("outbox_pending_id_seq", cache=1, metadata=metadata)

outbox_pending = Table(
    "outbox_pending",
    metadata,
    Column("id", BigInteger, pending_id, server_default=pending_id.next_value(), primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("replay_id", Uuid),
    Column("parked_at", DateTime(timezone=True)),
    Column("reason", Text),
    CheckConstraint(f"shard >= 0 and shard < {SHARDS}", name="shard_in_range"),
    CheckConstraint("(parked_at is null) = (reason is null)", name="parked_with_reason"),
    # Rows of replays only: the index costs a webhook nothing.
    Index("outbox_pending_replay_id_idx", "replay_id", postgresql_where=text("replay_id is not null")),
)

# One row per event of a provider, for ever: a copy may arrive after months. `digest` is kept for sources whose id is not signed.
dedup = Table(
    "dedup",
    metadata,
    Column("source", Text, nullable=False),
    Column("provider_event_id", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("digest", LargeBinary),
    PrimaryKeyConstraint("source", "provider_event_id"),
    Index("dedup_source_digest_key", "source", "digest", unique=True, postgresql_where=text("digest is not null")),
)

# The delivery log. An accepted delivery's id is the event's id everywhere; a duplicate names the event it repeats.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source", Text, nullable=False),
    Column("provider_event_id", Text),
    Column("type", Text),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("event_id", Uuid),
    Column("trace_id", Text, nullable=False),
    Column("secret_id", Text),
    Column("client", Text),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    # The delivery that a rejected one became when it was verified again.
    Column("recovered_as", Uuid),
    # As the provider states them; unknown for a rejected delivery, and for one that came before they were kept.
    Column("livemode", Boolean),
    Column("account", Text),
    # The provider's endpoint by which it came, if not by the plain path; for an unknown endpoint, the name in the path.
    Column("endpoint", Text),
    CheckConstraint("outcome in ('accepted', 'duplicate', 'ignored', 'rejected')", name="outcome_known"),
    # An ignored one has a reason too, except rows from before it was stored.
    CheckConstraint("outcome <> 'rejected' or reason is not null", name="rejected_with_reason"),
    # The body of an accepted delivery is in the outbox, once; only a rejected one is kept here, to be verified again.
    CheckConstraint("outcome = 'rejected' or body is null", name="body_of_rejected_only"),
    CheckConstraint("recovered_as is null or outcome = 'rejected'", name="recovered_if_rejected"),
    postgresql_partition_by="RANGE (id)",
)

# The marks: this consumer has handled this event. A mark is written in the transaction of the effects.
consumed = Table(
    "consumed",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("consumer", Text, nullable=False),
    # When the transaction of the effects began; null in marks that are older than this column.
    Column("at", DateTime(timezone=True), server_default=text("now()")),
    PrimaryKeyConstraint("event_id", "consumer"),
    postgresql_partition_by="RANGE (event_id)",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("consumer", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    # Null if another record of the consumer at this place became a dead letter later: Kafka has lost this one.
    Column("offset", BigInteger),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSONB, nullable=False),
    Column("event_id", Uuid),
    Column("trace_id", Text),
    Column("status", Text, nullable=False, server_default=text("'open'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    # The earlier letter of the same event whose retry led to this one.
    Column("earlier_id", Uuid),
    Column("settled_at", DateTime(timezone=True)),
    Column("settled_by", Text),
    Column("discard_reason", Text),
    CheckConstraint("status in ('open', 'retried', 'discarded')", name="status_known"),
    CheckConstraint("(status = 'open') = (settled_at is null)", name="settled_with_time"),
    CheckConstraint("(status = 'discarded') = (discard_reason is not null)", name="discarded_with_reason"),
    UniqueConstraint("consumer", "topic", "partition", "offset"),
    Index("dead_letters_created_at_idx", "created_at", "id"),
    Index("dead_letters_event_id_idx", "event_id", postgresql_where=text("event_id is not null")),
    Index("dead_letters_open_idx", "consumer", "reason", postgresql_where=text("status = 'open'")),
    # If a record that does not decode fails again, its earlier letter is found by its content.
    Index("dead_letters_unread_idx", "consumer", "topic", postgresql_where=text("status = 'retried' and event_id is null")),
)

# Commands whose outcome can be read; the id is that of the command's event.
tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("settled_at", DateTime(timezone=True)),
    Column("result", JSONB),
    Column("reason", Text),
    CheckConstraint("status in ('pending', 'done', 'failed')", name="status_known"),
    CheckConstraint("(status = 'pending') = (settled_at is null)", name="settled_with_time"),
    CheckConstraint("(status = 'done') = (result is not null)", name="done_with_result"),
    CheckConstraint("(status = 'failed') = (reason is not null)", name="failed_with_reason"),
    postgresql_partition_by="RANGE (id)",
)

# Every call of the internal listener; the id is the call's, so it gives the time and the command of the call.
audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("role", Text),
    Column("secret_id", Text),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("reason", Text),
    Column("trace_id", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("client", Text),
    CheckConstraint("role in ('service', 'admin', 'reader')", name="role_known"),
    CheckConstraint("(role is null) = (secret_id is null)", name="caller_whole"),
    postgresql_partition_by="RANGE (id)",
)

# The occurrences of a condition about a subject in a window, and the time of its alert.
alert_windows = Table(
    "alert_windows",
    metadata,
    Column("alert", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("raised_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("alert", "subject", "started_at"),
    CheckConstraint("count > 0", name="count_positive"),
    Index("alert_windows_raised_idx", "started_at", postgresql_where=text("raised_at is not null")),
)

# The time up to which upkeep has deleted, by kind; it continues from there, a day at a time.
retention_cutoffs = Table(
    "retention_cutoffs",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("cutoff", DateTime(timezone=True), nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
)

# Detached days: tables named `detached_` and the name of the partition, until they are dropped.
detached_partitions = Table(
    "detached_partitions",
    metadata,
    Column("partition", Text, primary_key=True),
    Column("detached_at", DateTime(timezone=True), nullable=False),
)

# Migrations that have removed something, and the revision of the oldest release that does not use it.
schema_contracts = Table(
    "schema_contracts",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("oldest_code", Text, nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
