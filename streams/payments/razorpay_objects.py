"""
Razorpay's entities as far as the fold needs them (https://razorpay.com/docs/webhooks/payments, …/refunds, …/disputes, …).

An event holds a snapshot of every entity named in its `contains`. An empty `notes` comes as `[]`, a filled one as an object; any
field but an id may be missing or null, and a status may be new.
"""

from typing import Annotated, Any, Generic, TypeVar

import msgspec

from schemas.foreign_json import NEEDED, State, Truth
from streams.payments.facts import Notes

# Bounds checked because what becomes a key must fit into an index.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, extra=NEEDED)]
Instant = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800, extra=NEEDED)]  # Unix seconds before the year 10000


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts in paise (the currency's minor unit); `amount_refunded` is the running total."""

    id: Id
    amount: Amount | None = None
    currency: str | None = None
    status: State | None = None
    amount_refunded: Amount | None = None
    captured: Truth | None = None
    order_id: Id | None = None
    invoice_id: Id | None = None
    customer_id: Id | None = None
    email: str | None = None
    notes: Notes = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is pending, processed or failed."""

    id: Id
    payment_id: Id | None = None
    amount: Amount | None = None
    currency: str | None = None
    status: State | None = None
    created_at: Instant | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """`amount_deducted` is what Razorpay has taken back of the disputed amount."""

    id: Id
    payment_id: Id | None = None
    amount: Amount | None = None
    currency: str | None = None
    amount_deducted: Amount | None = None
    reason_code: str | None = None
    respond_by: Instant | None = None
    status: State | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """`current_end` is missing until the first period has begun."""

    id: Id
    status: State | None = None
    customer_id: Id | None = None
    current_end: Instant | None = None
    notes: Notes = None


Entity = TypeVar("Entity")


class Holder(msgspec.Struct, Generic[Entity], frozen=True):
    entity: Annotated[Entity, msgspec.Meta(extra=NEEDED)] | None = None


class Payload(msgspec.Struct, frozen=True):
    payment: Annotated[Holder[Payment], msgspec.Meta(extra=NEEDED)] | None = None
    refund: Annotated[Holder[Refund], msgspec.Meta(extra=NEEDED)] | None = None
    dispute: Annotated[Holder[Dispute], msgspec.Meta(extra=NEEDED)] | None = None
    subscription: Annotated[Holder[Subscription], msgspec.Meta(extra=NEEDED)] | None = None


class Event(msgspec.Struct, frozen=True):
    """`created_at` is Unix seconds: several events of one entity often share one."""

    event: str
    created_at: Instant
    payload: Annotated[Payload | list[Any], msgspec.Meta(extra=NEEDED)] | None = None

    @property
    def payment(self) -> Payment | None:
        return _entity(self._entities.payment)

    @property
    def refund(self) -> Refund | None:
        return _entity(self._entities.refund)

    @property
    def dispute(self) -> Dispute | None:
        return _entity(self._entities.dispute)

    @property
    def subscription(self) -> Subscription | None:
        return _entity(self._entities.subscription)

    @property
    def _entities(self) -> Payload:
        """An empty object may be written as an empty list."""
        return self.payload if isinstance(self.payload, Payload) else Payload()


def _entity(holder: Holder[Entity] | None) -> Entity | None:
    return holder.entity if holder else None
