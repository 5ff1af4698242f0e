"""
The objects to fetch from Stripe's API, and the outcome of each fetch.

`next_attempt_at` is what makes one due; while it is asked for, that is the end of its claim: what a worker had that died becomes
due again. What is settled stays as long as the event that was the cause can be read again, so that nobody asks twice.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
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

stripe_fetches = Table(
    "stripe_fetches",
    metadata,
    # The event that is the cause: a thin one that names the object, or one that cannot be put in order with another.
    Column("event_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("why", Text, nullable=False),
    # What that event is about, as Stripe calls it: some of it no object says.
    Column("cause", Text, nullable=False),
    # Unix seconds of Stripe's: the answer must be of a later second.
    Column("after", BigInteger, nullable=False),
    Column("context", Text),
    Column("account", Text),
    Column("livemode", Boolean),
    Column("traceparent", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("outcome", Text),
    # Why the last attempt failed, or why nothing came of it.
    Column("reason", Text),
    PrimaryKeyConstraint("event_id", "kind", "object_id"),
    CheckConstraint("why in ('thin', 'order')", name="why_known"),
    CheckConstraint("outcome in ('fetched', 'gone', 'empty', 'given_up')", name="outcome_known"),
    CheckConstraint("(next_attempt_at is null) = (outcome is not null)", name="due_until_settled"),
    CheckConstraint("attempts >= 0", name="attempts_not_negative"),
)

Index(
    "stripe_fetches_due_idx",
    stripe_fetches.c.next_attempt_at,
    postgresql_where=stripe_fetches.c.next_attempt_at.is_not(None),
)
