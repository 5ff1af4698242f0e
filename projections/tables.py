"""
Current state of payments, refunds, disputes, subscriptions and invoices.

`state` is the fold's own record, from which the typed columns are derived; the columns serve reads, joins and CHECK constraints.
`version` counts the provider's events behind a row, so it is the same in whatever order they came.

`livemode` and `account` are what the events state. The account is no part of a key: every object with a row here has an id that
the provider has made. Of the objects that Stripe copies from one account to another, customers alone keep their ids
(https://support.stripe.com/questions/data-that-can-be-copied-between-stripe-accounts), and they have no row.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from outbox.tables import metadata

payments = Table(
    "payments",
    metadata,
    Column("provider", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("amount_refunded", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("customer_id", Text),
    Column("user_id", Text),
    Column("invoice_id", Text),
    Column("subscription_id", Text),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    PrimaryKeyConstraint("id", "provider"),
    CheckConstraint(
        "status in ('pending', 'processing', 'succeeded', 'failed', 'canceled', 'partially_refunded', 'refunded')",
        name="status_known",
    ),
    CheckConstraint("(status in ('partially_refunded', 'refunded')) = (amount_refunded > 0)", name="refunded_with_amount"),
    CheckConstraint("amount >= 0 and amount_refunded >= 0", name="amounts_not_negative"),
    # The lists of operators are in the order of the last change.
    Index("payments_updated_at_idx", "updated_at", "id", "provider"),
    Index("payments_user_id_idx", "user_id", postgresql_where=text("user_id is not null")),
    Index("payments_reference_idx", "reference"),
)

# `status` is one of the words that all providers share, or else the provider's own word.
refunds = Table(
    "refunds",
    metadata,
    Column("provider", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text),
    Column("failure_reason", Text),
    Column("payment_id", Text),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    PrimaryKeyConstraint("id", "provider"),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
)

Index("refunds_payment_id_idx", refunds.c.payment_id)

disputes = Table(
    "disputes",
    metadata,
    Column("provider", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text),
    Column("funds", Text),
    Column("respond_by", DateTime(timezone=True)),
    Column("payment_id", Text),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    PrimaryKeyConstraint("id", "provider"),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
    CheckConstraint("funds in ('withdrawn', 'reinstated')", name="funds_known"),
)

Index("disputes_payment_id_idx", disputes.c.payment_id)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("provider", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("customer_id", Text),
    Column("current_period_end", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    PrimaryKeyConstraint("id", "provider"),
    Index("subscriptions_updated_at_idx", "updated_at", "id", "provider"),
)

invoices = Table(
    "invoices",
    metadata,
    Column("provider", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount_due", BigInteger, nullable=False),
    Column("amount_paid", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("customer_id", Text),
    Column("subscription_id", Text),
    Column("payment_id", Text),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("livemode", Boolean),
    Column("account", Text),
    PrimaryKeyConstraint("id", "provider"),
    CheckConstraint("status in ('draft', 'open', 'paid', 'payment_failed', 'void', 'uncollectible')", name="status_known"),
    Index("invoices_updated_at_idx", "updated_at", "id", "provider"),
)

# The events that produced the rows of the tables above, one line each, kept as long as the row.
history = Table(
    "history",
    metadata,
    Column("aggregate_type", Text, nullable=False),
    Column("aggregate_id", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("provider_event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("aggregate_id", "aggregate_type", "event_id"),
)

# Each row has the expected and the paid amount of one reference. Both sides write the same row, so its lock puts them in an order
# and the second one always sees the first: no pair is missed, whichever comes first.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("expected_amount", BigInteger),
    Column("expected_currency", Text),
    Column("user_id", Text),
    Column("paid_amount", BigInteger),
    Column("paid_currency", Text),
    Column("payment_id", Text),
    Column(
        "outcome",
        Text,
        Computed(
            "case when paid_amount is null then 'awaited' when expected_amount is null then 'unexpected' "
            "when paid_amount = expected_amount and paid_currency = expected_currency then 'matched' "
            "else 'mismatched' end",
            persisted=True,
        ),
        nullable=False,
    ),
    CheckConstraint("(expected_amount is null) = (expected_currency is null)", name="expected_whole"),
    CheckConstraint(
        "(paid_amount is null) = (paid_currency is null) and (paid_amount is null) = (payment_id is null)",
        name="paid_whole",
    ),
    CheckConstraint("expected_amount is not null or paid_amount is not null", name="not_empty"),
)

Index("reconciliations_payment_id_idx", reconciliations.c.payment_id)
Index("reconciliations_user_id_idx", reconciliations.c.user_id, postgresql_where=reconciliations.c.user_id.is_not(None))
