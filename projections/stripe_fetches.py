"""
The objects to fetch from Stripe's API, and the outcome of each fetch.

An object is due at its `next_attempt_at`. While it is being fetched, that is the end of its claim: if the worker dies, the object
becomes due again. A settled row is kept as long as the event that caused it can be read again, so that the object is not fetched
twice.
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
    # The type of that event, as Stripe names it: some types state something that the object does not.
    Column("cause", Text, nullable=False),
    # Unix seconds by Stripe's clock: the answer must be of a later second.
    Column("after", BigInteger, nullable=False),
    Column("context", Text),
    Column("account", Text),
    Column("livemode", Boolean),
    Column("traceparent", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("outcome", Text),
    # Why the last attempt failed, or why there is no event.
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
