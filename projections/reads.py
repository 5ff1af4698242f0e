"""Reads of the admin routes: the state of one payment, refund, dispute, subscription or invoice, and the events that made it."""

from datetime import datetime
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import DateTime, FromClause, Select, Table, Text, and_, bindparam, case, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.elements import ColumnElement

from projections.moments import readable
from projections.selects import Read, read_of
from projections.tables import disputes, history, invoices, payments, reconciliations, refunds, subscriptions
from schemas.billing import InvoiceStatus, PaymentStatus, Reconciliation
from schemas.providers import ProviderName


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The fields that `docs/contract.md` lists under "Admin HTTP"; unknown values are left out."""


class ReadsEventView(_View, frozen=True):
    """A provider's event that contributed to a state."""

    id: str  #: The provider's id of the event.
    type: str  #: The provider's type of the event.
    occurred_at: datetime  #: When it happened, by the provider's clock.
    event_id: UUID  #: Our id of the event (`ce_id`).


class _State(_View, frozen=True, kw_only=True):
    """Fields of a payment, a subscription and an invoice."""

    provider: ProviderName  #: The provider.
    version: int  #: Number of the provider's events that produced this state.
    updated_at: datetime  #: When the state last changed.
    events: list[ReadsEventView]  #: The events that produced this state, oldest first.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.


class RefundPart(_View, frozen=True, kw_only=True):
    """A refund of a payment."""

    id: str  #: The provider's id of the refund.
    status: str  #: `pending`, `requires_action`, `succeeded`, `failed`, `canceled`, or the provider's own word.
    amount: int  #: In minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    reason: str | None = None  #: The provider's word for why the money is returned; absent if unknown.
    failure_reason: str | None = None  #: The provider's word for why the refund failed; absent unless it failed.


class DisputePart(_View, frozen=True, kw_only=True):
    """A dispute of a payment."""

    id: str  #: The provider's id of the dispute.
    status: str  #: The provider's own word.
    amount: int  #: The disputed amount, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    reason: str | None = None  #: The provider's word for the payer's reason; absent if unknown.
    funds: Literal["withdrawn", "reinstated"] | None = None  #: Whether the amount was withdrawn or paid back; absent before.
    respond_by: datetime | None = None  #: Until when evidence is accepted; absent if unknown.


class PaymentView(_State, frozen=True, kw_only=True):
    """The current state of the payment."""

    provider_payment_id: str  #: The provider's id of the payment.
    status: PaymentStatus  #: The current state.
    amount: int  #: In minor units of `currency`.
    amount_refunded: int  #: Total refunded so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    reconciliation: Reconciliation  #: The result of comparing the payment with its expectation.
    reference: str  #: The reference under which the payment is expected.
    refunds: list[RefundPart]  #: The payment's refunds, by id.
    disputes: list[DisputePart]  #: The payment's disputes, by id.
    expected_amount: int | None = None  #: The expected amount, in minor units of `expectedCurrency`; absent if nothing is.
    expected_currency: str | None = None  #: The expected currency, an ISO 4217 code in lower case; absent if nothing is.
    invoice_id: str | None = None  #: The provider's id of the invoice; absent if there is none.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    user_id: str | None = None  #: Your id of the user; absent if unknown.


class RefundView(RefundPart, frozen=True, kw_only=True):
    """The current state of the refund."""

    provider: ProviderName  #: The provider.
    version: int  #: Number of the provider's events that produced this state.
    updated_at: datetime  #: When the state last changed.
    events: list[ReadsEventView]  #: The events that produced this state, oldest first.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.
    payment_id: str | None = None  #: The provider's id of the refunded payment; absent if unknown.


class DisputeView(DisputePart, frozen=True, kw_only=True):
    """The current state of the dispute."""

    provider: ProviderName  #: The provider.
    version: int  #: Number of the provider's events that produced this state.
    updated_at: datetime  #: When the state last changed.
    events: list[ReadsEventView]  #: The events that produced this state, oldest first.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.
    payment_id: str | None = None  #: The provider's id of the disputed payment; absent if unknown.


class SubscriptionView(_State, frozen=True, kw_only=True):
    """The current state of the subscription."""

    id: str  #: The provider's id of the subscription.
    status: str  #: The provider's own word.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    current_period_end: datetime | None = None  #: End of the paid period; absent if unknown.


class InvoiceView(_State, frozen=True, kw_only=True):
    """The current state of the invoice."""

    id: str  #: The provider's id of the invoice.
    status: InvoiceStatus  #: The current state.
    amount_due: int  #: In minor units of `currency`.
    amount_paid: int  #: Paid so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.
    payment_id: str | None = None  #: The provider's id of the payment; absent if unknown.


async def payment(connection: AsyncConnection, payment_id: str) -> PaymentView | None:
    """Read the payment with that provider id."""
    return await _read(connection, _PAYMENT, payment_id, PaymentView)


async def refund(connection: AsyncConnection, refund_id: str) -> RefundView | None:
    """Read the refund with that provider id."""
    return await _read(connection, _REFUND, refund_id, RefundView)


async def dispute(connection: AsyncConnection, dispute_id: str) -> DisputeView | None:
    """Read the dispute with that provider id."""
    return await _read(connection, _DISPUTE, dispute_id, DisputeView)


async def subscription(connection: AsyncConnection, subscription_id: str) -> SubscriptionView | None:
    """Read the subscription with that provider id."""
    return await _read(connection, _SUBSCRIPTION, subscription_id, SubscriptionView)


async def invoice(connection: AsyncConnection, invoice_id: str) -> InvoiceView | None:
    """Read the invoice with that provider id."""
    return await _read(connection, _INVOICE, invoice_id, InvoiceView)


View = TypeVar("View", bound=_View)


async def _read(connection: AsyncConnection, read: Read, wanted: str, view: type[View]) -> View | None:
    row = await read.first(connection, wanted=wanted)
    return None if row is None else msgspec.convert(row, view)


def _one(table: Table, query: Select[Any]) -> Read:
    return read_of(query.where(table.c.id == bindparam("wanted", type_=Text)).limit(1))


def _events(aggregate: str, table: Table) -> ColumnElement[Any]:
    """Select the history in the same statement as the state, so that both are of one moment."""
    event = func.jsonb_build_object(
        "id", history.c.provider_event_id,
        "type", history.c.type,
        "occurredAt", readable(history.c.occurred_at),
        "eventId", history.c.event_id,
    )  # fmt: skip
    in_order = aggregate_order_by(event, history.c.occurred_at, history.c.event_id)
    of_this = and_(history.c.aggregate_id == table.c.id, history.c.aggregate_type == aggregate)
    return select(func.coalesce(func.jsonb_agg(in_order), func.jsonb_build_array())).where(of_this).scalar_subquery()


def _parts(table: Table, *names: str) -> ColumnElement[Any]:
    """Select the rows of another table that belong to the payment, in the order of the ids."""
    fields = [part for name in ("id", "status", "amount", "currency", "reason", *names) for part in (camel(name), table.c[name])]
    in_order = aggregate_order_by(func.jsonb_strip_nulls(func.jsonb_build_object(*fields)), table.c.id)
    of_this = and_(table.c.payment_id == payments.c.id, table.c.provider == payments.c.provider)
    return select(func.coalesce(func.jsonb_agg(in_order), func.jsonb_build_array())).where(of_this).scalar_subquery()


def _columns(table: Table, *but: str) -> list[ColumnElement[Any]]:
    """Return the table's columns under the names that the views have on the wire."""
    kept = [column for column in table.columns if column.name not in {"id", "state", *but}]
    return [_readable(column).label(camel(column.name)) for column in kept]


def _readable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return readable(column) if isinstance(column.type, DateTime) else column


def camel(name: str) -> str:
    """Return the name of a column as it is in answers."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _alone(aggregate: str, table: Table) -> Read:
    return _one(table, select(*_columns(table), table.c.id.label("id"), _events(aggregate, table).label("events")))


# A reference belongs to another payment once that one is paid under it. Before that, the requested amount is compared with the
# expected one.
_OURS: Final = or_(reconciliations.c.payment_id.is_(None), reconciliations.c.payment_id == payments.c.id)
_SOURCE: Final[FromClause] = payments.outerjoin(
    reconciliations, and_(reconciliations.c.reference == payments.c.reference, _OURS)
).outerjoin(invoices, and_(invoices.c.id == payments.c.invoice_id, invoices.c.provider == payments.c.provider))
_RECONCILIATION: Final = case(
    (reconciliations.c.expected_amount.is_(None), "unexpected"),
    (
        and_(
            reconciliations.c.expected_amount == payments.c.amount,
            reconciliations.c.expected_currency == payments.c.currency,
        ),
        "matched",
    ),
    else_="mismatched",
)

# Since 2025 no single Stripe event links a payment to its subscription: the invoice links them, in whatever order they come.
_PAYMENT: Final = _one(
    payments,
    select(
        *_columns(payments, "user_id", "subscription_id"),
        payments.c.id.label("providerPaymentId"),
        func.coalesce(payments.c.user_id, reconciliations.c.user_id).label("userId"),
        func.coalesce(payments.c.subscription_id, invoices.c.subscription_id).label("subscriptionId"),
        _RECONCILIATION.label("reconciliation"),
        reconciliations.c.expected_amount.label("expectedAmount"),
        reconciliations.c.expected_currency.label("expectedCurrency"),
        _events("payment", payments).label("events"),
        _parts(refunds, "failure_reason").label("refunds"),
        _parts(disputes, "funds", "respond_by").label("disputes"),
    ).select_from(_SOURCE),
)

_REFUND: Final = _alone("refund", refunds)

_DISPUTE: Final = _alone("dispute", disputes)

_SUBSCRIPTION: Final = _alone("subscription", subscriptions)

_INVOICE: Final = _alone("invoice", invoices)
