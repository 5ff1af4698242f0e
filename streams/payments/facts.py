"""
What one provider event says of one payment, subscription or invoice, in no provider's own words.

A provider needs a translator to these records and nothing else: the fold, the store and the handler know only them.
"""

from typing import Literal, NamedTuple

import msgspec

from schemas.billing import Provider

Progress = Literal["pending", "processing", "failed", "canceled"]
InvoicePhase = Literal["draft", "open", "uncollectible", "void", "paid"]


class Stamp(NamedTuple):
    """
    When something was said: facts are ordered by it, whatever order they arrive in.

    `at` is the provider's time in Unix seconds; `rank` says what comes later in a life within one second; `event` is the
    provider's event id, so that no two events are ever equal.
    """

    at: int
    rank: int
    event: str


class Money(NamedTuple):
    """Minor units of a currency (ISO 4217, lower case)."""

    amount: int
    currency: str


class PaymentFact(msgspec.Struct, frozen=True, kw_only=True):
    """
    Of a payment.

    `asked` is its amount in its own words, `hinted` as another object states it (its invoice), which counts only until the
    payment speaks for itself; `captured` says that the money is in; `amount_refunded` is the running total.
    One of the three amounts is always there.
    """

    provider: Provider
    id: str
    stamp: Stamp
    progress: Progress | None = None
    asked: Money | None = None
    hinted: Money | None = None
    captured: Money | None = None
    amount_refunded: int = 0
    reference: str | None = None
    customer_id: str | None = None
    user_id: str | None = None
    contact: str | None = None
    invoice_id: str | None = None
    subscription_id: str | None = None


class SubscriptionFact(msgspec.Struct, frozen=True, kw_only=True):
    """Of a subscription: always its whole standing. `status` is the provider's word, `ended` whether it is a last one."""

    provider: Provider
    id: str
    stamp: Stamp
    status: str
    ended: bool
    current_period_end: int | None = None
    customer_id: str | None = None


class InvoiceFact(msgspec.Struct, frozen=True, kw_only=True):
    """
    Of an invoice.

    `phase` and `billed` are there when the invoice speaks for itself, `hinted` when a payment speaks of it. `attempt` counts
    the attempts to collect it, and `failed` says that this one failed.
    """

    provider: Provider
    id: str
    stamp: Stamp
    phase: InvoicePhase | None = None
    billed: Money | None = None
    hinted: Money | None = None
    amount_paid: int = 0
    attempt: int = 0
    failed: bool = False
    customer_id: str | None = None
    user_id: str | None = None
    contact: str | None = None
    subscription_id: str | None = None
    payment_id: str | None = None


Fact = PaymentFact | SubscriptionFact | InvoiceFact
