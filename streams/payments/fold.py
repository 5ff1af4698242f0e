"""
State as a pure fold over facts: the same for every order and any repetition.

That holds because each part of a state is a maximum over a total order (most by stamp, some by a lifecycle or an amount), and a
maximum asks neither how often nor in which order. What a reader sees (`status`, `amount`, …) is computed from the parts.
"""

from typing import Final, NamedTuple, TypeVar

import msgspec

from schemas.billing import InvoiceStatus, PaymentStatus, Provider
from streams.payments.facts import Fact, InvoiceFact, InvoicePhase, Money, PaymentFact, Progress, Stamp, SubscriptionFact


class Known(NamedTuple):
    """A word and when it was said."""

    stamp: Stamp
    value: str


class Reached(NamedTuple):
    """A step of a payment that may still be followed by another."""

    stamp: Stamp
    progress: Progress


class Stated(NamedTuple):
    """An amount and when it was said."""

    stamp: Stamp
    money: Money


class Standing(NamedTuple):
    """All of a subscription at one time; the stamp's rank puts an end after everything of the same second."""

    stamp: Stamp
    status: str
    ended: bool
    current_period_end: int | None


class PaymentState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`updated` is the latest provider time behind it, in Unix seconds."""

    provider: Provider
    id: str
    updated: int = 0
    reached: Reached | None = None
    canceled: bool = False
    captured: Stated | None = None
    amount_refunded: int = 0
    asked: Stated | None = None
    hinted: Stated | None = None
    said_reference: Known | None = None
    customer: Known | None = None
    user: Known | None = None
    contact: Known | None = None
    invoice: Known | None = None
    subscription: Known | None = None

    @property
    def status(self) -> PaymentStatus:
        """Money that is in stays in; a canceled payment can only turn out paid; a failed attempt may be followed by another."""
        if self.captured is not None:
            if self.amount_refunded == 0:
                return "succeeded"
            return "refunded" if self.amount_refunded >= self.captured.money.amount else "partially_refunded"
        if self.canceled:
            return "canceled"
        return self.reached.progress if self.reached else "pending"

    @property
    def money(self) -> Money:
        """What was captured, else what was asked, else what another object says was asked."""
        stated = self.captured or self.asked or self.hinted
        if stated is None:
            raise ValueError(f"no fact has stated an amount of the payment {self.id}")
        return stated.money

    @property
    def reference(self) -> str:
        """What `payments/expect` knows it by."""
        return self.said_reference.value if self.said_reference else self.id


class SubscriptionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    provider: Provider
    id: str
    standing: Standing
    customer: Known | None = None

    @property
    def updated(self) -> int:
        return self.standing.stamp.at


class InvoiceState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`failed_attempt` is the highest attempt known to have failed, `attempt` the highest known at all."""

    provider: Provider
    id: str
    updated: int = 0
    phase: InvoicePhase | None = None
    attempt: int = 0
    failed_attempt: int = -1
    billed: Stated | None = None
    hinted: Stated | None = None
    amount_paid: int = 0
    customer: Known | None = None
    user: Known | None = None
    contact: Known | None = None
    subscription: Known | None = None
    payment: Known | None = None

    @property
    def status(self) -> InvoiceStatus:
        """Paid is final over void, and void over uncollectible; an open invoice has failed when its last attempt has."""
        if self.phase is None:
            return "open"  # only a payment has spoken of it so far, and only an open invoice has payments
        return "payment_failed" if self.phase == "open" and self.failed_attempt >= self.attempt else self.phase

    @property
    def money(self) -> Money:
        """What it asks for, in its own words or else in its payment's."""
        stated = self.billed or self.hinted
        if stated is None:
            raise ValueError(f"no fact has stated an amount of the invoice {self.id}")
        return stated.money


State = PaymentState | SubscriptionState | InvoiceState

Part = TypeVar("Part", Known, Reached, Stated, Standing)


def fold_payment(state: PaymentState | None, fact: PaymentFact) -> PaymentState:
    known = state or PaymentState(provider=fact.provider, id=fact.id)
    stamp = fact.stamp
    canceled = fact.progress == "canceled"
    return PaymentState(
        provider=known.provider,
        id=known.id,
        updated=max(known.updated, stamp.at),
        reached=_latest(known.reached, None if fact.progress is None or canceled else Reached(stamp, fact.progress)),
        canceled=known.canceled or canceled,
        captured=_latest(known.captured, _stated(stamp, fact.captured)),
        amount_refunded=max(known.amount_refunded, fact.amount_refunded),
        asked=_latest(known.asked, _stated(stamp, fact.asked)),
        hinted=_latest(known.hinted, _stated(stamp, fact.hinted)),
        said_reference=_latest(known.said_reference, _known(stamp, fact.reference)),
        customer=_latest(known.customer, _known(stamp, fact.customer_id)),
        user=_latest(known.user, _known(stamp, fact.user_id)),
        contact=_latest(known.contact, _known(stamp, fact.contact)),
        invoice=_latest(known.invoice, _known(stamp, fact.invoice_id)),
        subscription=_latest(known.subscription, _known(stamp, fact.subscription_id)),
    )


def fold_subscription(state: SubscriptionState | None, fact: SubscriptionFact) -> SubscriptionState:
    said = Standing(fact.stamp, fact.status, fact.ended, fact.current_period_end)
    return SubscriptionState(
        provider=fact.provider,
        id=fact.id,
        standing=max(state.standing, said) if state else said,
        customer=_latest(state.customer if state else None, _known(fact.stamp, fact.customer_id)),
    )


_PHASES: Final[dict[InvoicePhase | None, int]] = {None: 0, "draft": 1, "open": 2, "uncollectible": 3, "void": 4, "paid": 5}


def fold_invoice(state: InvoiceState | None, fact: InvoiceFact) -> InvoiceState:
    known = state or InvoiceState(provider=fact.provider, id=fact.id)
    stamp = fact.stamp
    return InvoiceState(
        provider=known.provider,
        id=known.id,
        updated=max(known.updated, stamp.at),
        phase=max(known.phase, fact.phase, key=lambda phase: _PHASES[phase]),
        attempt=max(known.attempt, fact.attempt),
        failed_attempt=max(known.failed_attempt, fact.attempt) if fact.failed else known.failed_attempt,
        billed=_latest(known.billed, _stated(stamp, fact.billed)),
        hinted=_latest(known.hinted, _stated(stamp, fact.hinted)),
        amount_paid=max(known.amount_paid, fact.amount_paid),
        customer=_latest(known.customer, _known(stamp, fact.customer_id)),
        user=_latest(known.user, _known(stamp, fact.user_id)),
        contact=_latest(known.contact, _known(stamp, fact.contact)),
        subscription=_latest(known.subscription, _known(stamp, fact.subscription_id)),
        payment=_latest(known.payment, _known(stamp, fact.payment_id)),
    )


def fold(state: State | None, fact: Fact) -> State:
    """The state after one more fact; the caller pairs states and facts of one aggregate."""
    match fact:
        case PaymentFact():
            return fold_payment(state if isinstance(state, PaymentState) else None, fact)
        case SubscriptionFact():
            return fold_subscription(state if isinstance(state, SubscriptionState) else None, fact)
        case InvoiceFact():
            return fold_invoice(state if isinstance(state, InvoiceState) else None, fact)


def _latest(known: Part | None, said: Part | None) -> Part | None:
    if known is None or said is None:
        return said if known is None else known
    return max(known, said)


def _known(stamp: Stamp, value: str | None) -> Known | None:
    return None if value is None else Known(stamp, value)


def _stated(stamp: Stamp, money: Money | None) -> Stated | None:
    return None if money is None else Stated(stamp, money)
