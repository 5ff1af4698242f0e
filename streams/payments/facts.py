"""
What one provider event says of one payment, refund, dispute, subscription or invoice, in no provider's own words.

A provider needs a translator to these records and nothing else: the fold, the store and the handler know only them.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from schemas.providers import ProviderName

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


NO_CURRENCY: Final = "xxx"
"""ISO 4217's code for no currency: that of an amount which no event has stated whole."""


class Money(NamedTuple):
    """Minor units of a currency (ISO 4217, lower case)."""

    amount: int
    currency: str

    @property
    def whole(self) -> bool:
        return self.currency != NO_CURRENCY


UNSTATED: Final = Money(0, NO_CURRENCY)


def money(amount: int | None, currency: str | None) -> Money:
    """What a provider states, where it leaves out one or both: an amount without a currency is kept, to be completed later."""
    return UNSTATED if amount is None else Money(amount, currency.lower() if currency else NO_CURRENCY)


class Total(NamedTuple):
    """
    What a provider says has been given back of a payment by a moment: Unix seconds, and minor units.

    `after_failures` says that it does not hold what failed in the same second: a total that comes with a new refund is older than
    a failure of that second, one that comes with any other change is younger.
    """

    at: int
    amount: int
    after_failures: bool = False


class Returned(NamedTuple):
    """What an event says of one refund of a payment; `gone` where it says that the refund failed or was canceled."""

    id: str
    amount: int
    created: int | None
    gone: bool


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    """`livemode` and `account` are those of the event; None where it does not state them."""

    provider: ProviderName
    id: str
    stamp: Stamp
    livemode: bool | None = None
    account: str | None = None


class PaymentFact(_Fact, frozen=True, kw_only=True):
    """
    Of a payment.

    `asked` is its amount in its own words, `hinted` as another object states it (its invoice), which counts only until the
    payment speaks for itself; `captured` says that the money is in, and `vouched` that another object says so, which again
    counts only until the payment does. `refunded` is the provider's running total, `returned` are single refunds.
    """

    progress: Progress | None = None
    asked: Money | None = None
    hinted: Money | None = None
    captured: Money | None = None
    vouched: Money | None = None
    refunded: Total | None = None
    returned: tuple[Returned, ...] = ()
    reference: str | None = None
    customer_id: str | None = None
    user_id: str | None = None
    contact: str | None = None
    invoice_id: str | None = None
    subscription_id: str | None = None


class RefundFact(_Fact, frozen=True, kw_only=True):
    """
    Of a refund.

    `status` is pending, requires_action, succeeded, failed or canceled, or a word of the provider's that is none of these;
    `gone` says that the money does not reach the payer. `created` is Unix seconds.
    """

    status: str
    gone: bool
    amount: Money = UNSTATED
    created: int | None = None
    reason: str | None = None
    failure_reason: str | None = None
    payment_id: str | None = None


Funds = Literal["withdrawn", "reinstated"]


class DisputeFact(_Fact, frozen=True, kw_only=True):
    """
    Of a dispute.

    `status` is the provider's word, `ended` whether it is a last one. `funds` says what became of the disputed amount, and
    `respond_by` until when evidence is taken, in Unix seconds.
    """

    status: str
    ended: bool
    amount: Money = UNSTATED
    reason: str | None = None
    payment_id: str | None = None
    respond_by: int | None = None
    funds: Funds | None = None


class Before(NamedTuple):
    """What an event says the subscription was until then; None where that has not changed."""

    status: str | None = None
    current_period_end: int | None = None


class SubscriptionFact(_Fact, frozen=True, kw_only=True):
    """Of a subscription: always its whole standing. `status` is the provider's word, `ended` whether it is a last one."""

    status: str
    ended: bool
    current_period_end: int | None = None
    before: Before = Before()
    customer_id: str | None = None


class InvoiceFact(_Fact, frozen=True, kw_only=True):
    """
    Of an invoice.

    `phase` and `billed` are there when the invoice speaks for itself, `hinted` when a payment speaks of it. `attempt` counts
    the attempts to collect it, and `failed` says that this one failed.
    """

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


Fact = PaymentFact | RefundFact | DisputeFact | SubscriptionFact | InvoiceFact
