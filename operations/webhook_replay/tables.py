"""The tables of webhook replays: the jobs, and their deliveries with the outcome of each."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from outbox.tables import metadata

# `filters` are the requested filters; the items below are the deliveries that matched at that moment, without later ones.
webhook_replays = Table(
    "webhook_replays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text),
    Column("filters", JSONB, nullable=False),
    Column("rate", Double, nullable=False),
    Column("matched", Integer, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("finished_at", DateTime(timezone=True)),
    Column("failure", Text),
    CheckConstraint("state in ('running', 'done', 'failed', 'cancelled')", name="state_known"),
    CheckConstraint("(state = 'running') = (finished_at is null)", name="finished_with_time"),
    CheckConstraint("failure is null or state = 'failed'", name="failure_of_failed_only"),
    CheckConstraint("rate > 0", name="rate_positive"),
    Index("webhook_replays_running_idx", "id", postgresql_where=text("state = 'running'")),
)

# `outcome` is that of the delivery at the time of the match. A `sent` item waits for its mark: no consumer had handled it before.
webhook_replay_items = Table(
    "webhook_replay_items",
    metadata,
    Column("replay_id", Uuid, ForeignKey("webhook_replays.id", ondelete="CASCADE"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("delivery_id", Uuid, nullable=False),
    Column("source", Text, nullable=False),
    Column("type", Text),
    Column("outcome", Text, nullable=False),
    Column("event_id", Uuid),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("reason", Text),
    Column("enqueued_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("replay_id", "n"),
    CheckConstraint("state in ('waiting', 'sent', 'processed', 'unchanged', 'failed')", name="state_known"),
    CheckConstraint("state <> 'failed' or reason is not null", name="failed_with_reason"),
    CheckConstraint("state <> 'waiting' or enqueued_at is null", name="waiting_is_not_enqueued"),
    CheckConstraint("state <> 'sent' or (enqueued_at is not null and event_id is not null)", name="sent_whole"),
    Index("webhook_replay_items_open_idx", "replay_id", "state", "n", postgresql_where=text("state in ('waiting', 'sent')")),
)
