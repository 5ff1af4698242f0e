"""
The stored state of a payment, a refund, a dispute, a subscription or an invoice: its parts, of which the fold keeps the greatest.

The fields that a reader sees (`status`, `money`, …) are computed from the parts.
"""

from functools import cached_property
from typing import NamedTuple

import msgspec

from schemas.billing import InvoiceStatus, PaymentStatus
from schemas.providers import ProviderName
from streams.payments.facts import UNSTATED, Before, InvoicePhase, Money, Progress, Stamp
from streams.payments.refunds import MergedRefund, Totals, refunded_amount, without_release


class Known(NamedTuple):
    """A text and the stamp of its event."""

    stamp: Stamp
    value: str


class Reached(NamedTuple):
    """A step of a payment that may still be followed by another."""

    stamp: Stamp
    progress: Progress


class Stated(NamedTuple):
    """An amount and the stamp of its event."""

    stamp: Stamp
    money: Money


class Snapshot(NamedTuple):
    """All of a subscription at one time; the stamp's rank puts an end after everything of the same second."""

    stamp: Stamp
    status: str
    ended: bool
    current_period_end: int | None
    before: Before = Before()


class Fate(NamedTuple):
    """A status of a refund or of a dispute; `final` is true if no other follows it."""

    stamp: Stamp
    status: str
    final: bool


class Moment(NamedTuple):
    """A time in Unix seconds and the stamp of its event."""

    stamp: Stamp
    at: int


class Flag(NamedTuple):
    """A truth value and the stamp of its event."""

    stamp: Stamp
    value: bool


class _State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The kept parts of every aggregate; `live` and `of_account` are known once an event has stated them."""

    provider: ProviderName
    id: str
    live: Flag | None = None
    of_account: Known | None = None

    @property
    def livemode(self) -> bool | None:
        return self.live.value if self.live else None

    @property
    def account(self) -> str | None:
        return self.of_account.value if self.of_account else None


class PaymentState(_State, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """
    The parts of a payment; `updated` is the latest time of its events by the provider, in Unix seconds.

    An event's news and the row of the payment read the same computed fields many times, so they are kept once computed.
    """

    updated: int = 0
    reached: Reached | None = None
    own_failure: Stamp | None = None
    """The latest failure that the payment itself has stated, and not only one of its charges."""
    canceled: bool = False
    captured: Stated | None = None
    captured_first: int | None = None
    """The first second in which the captured amount was stated; None if that is the second of `captured`."""
    vouched: Stated | None = None
    refunded: Totals | None = None
    refunds: dict[str, MergedRefund] = {}
    refunded_whole: Totals | None = None
    """The totals of a partial capture as the provider states them; `refunded` is without what was released."""
    unreleased: int | None = None
    """The captured amount for which the provider's totals are known to include no released amount."""
    refunded_before: int = msgspec.field(default=0, name="amount_refunded")
    """The greatest total in a state that was written before refunds were kept one by one."""
    requested: Stated | None = msgspec.field(default=None, name="asked")
    hinted: Stated | None = None
    own_reference: Known | None = msgspec.field(default=None, name="said_reference")
    own_customer: Known | None = msgspec.field(default=None, name="customer")
    own_user: Known | None = msgspec.field(default=None, name="user")
    hinted_reference: Known | None = None
    hinted_customer: Known | None = None
    hinted_user: Known | None = None
    contact: Known | None = None
    invoice: Known | None = None
    subscription: Known | None = None

    @property
    def settled(self) -> Stated | None:
        """The captured amount as the payment states it, else as another object vouches for it."""
        return self.captured or self.vouched

    @cached_property
    def amount_refunded(self) -> int:
        """Never more than the payment's amount, unless the provider's own total is; 0 for a payment that was not captured."""
        settled = self.settled
        if settled is None:
            return 0
        totals, made, released = self.refunded, list(self.refunds.values()), self._released
        if released and self.unreleased == settled.money.amount:
            totals, released = self.refunded_whole or totals, 0
        most = max(self.money.amount, totals.greatest if totals else 0)
        refunds = without_release(made, released, self.captured_since or settled.stamp.at)
        apart = released if len(refunds) == len(made) else 0  # Stripe has made no refund of it, as far as we know
        return min(refunded_amount(totals, refunds, self.refunded_before, apart=apart), most)

    @property
    def captured_since(self) -> int | None:
        """The first second in which the captured amount was stated: later events of the charge state it again."""
        return self.captured.stamp.at if self.captured and self.captured_first is None else self.captured_first

    @property
    def _released(self) -> int:
        """The part of the requested amount that was not captured; 0 while either is unknown."""
        wanted, captured = (self.requested or self.hinted), self.captured
        if wanted is None or captured is None or wanted.money.currency != captured.money.currency:
            return 0
        return max(wanted.money.amount - captured.money.amount, 0)

    @cached_property
    def status(self) -> PaymentStatus:
        """A captured payment stays captured; a canceled one can only become paid; a failed attempt may be followed by another."""
        settled, refunded = self.settled, self.amount_refunded
        if settled is not None:
            if refunded == 0:
                return "succeeded"
            return "refunded" if refunded >= self.money.amount else "partially_refunded"
        if self.canceled:
            return "canceled"
        return self.reached.progress if self.reached else "pending"

    @property
    def is_failure_final(self) -> bool:
        """
        True for a failure of which the payer can be notified: the payment itself has stated it.

        Since Stripe's API of 2025 a charge does not name its invoice. Its failure arrives before that of its intent, which does,
        so the payer would be notified of one failed renewal twice: as a payment and as an invoice.
        """
        return self.status == "failed" and self.own_failure is not None

    @cached_property
    def money(self) -> Money:
        """The captured amount, else the requested one, else the one that another object states."""
        return _amount_of(self.captured, self.vouched, self.requested, self.hinted)

    @property
    def reference(self) -> str:
        """The reference under which `payments/expect` expects it."""
        stated = self.own_reference or self.hinted_reference
        return stated.value if stated else self.id

    @property
    def customer(self) -> Known | None:
        return self.own_customer or self.hinted_customer

    @property
    def user(self) -> Known | None:
        return self.own_user or self.hinted_user


class SubscriptionState(_State, frozen=True, kw_only=True, omit_defaults=True):
    current: Snapshot = msgspec.field(name="standing")
    rivals: tuple[Snapshot, ...] = ()
    """The other states of the same second."""
    customer: Known | None = None

    @property
    def updated(self) -> int:
        return self.current.stamp.at


class RefundState(_State, frozen=True, kw_only=True, omit_defaults=True):
    fate: Fate
    updated: int = 0
    stated: Stated | None = None
    reason: Known | None = None
    failure: Known | None = None
    payment: Known | None = None

    @property
    def money(self) -> Money:
        return self.stated.money if self.stated else UNSTATED


class DisputeState(_State, frozen=True, kw_only=True, omit_defaults=True):
    """`stated_funds` is the state of the disputed amount by the latest event; `withdrawn` is true if any states a withdrawal."""

    fate: Fate
    updated: int = 0
    stated: Stated | None = None
    reason: Known | None = None
    stated_funds: Known | None = msgspec.field(default=None, name="funds")
    withdrawn: bool = False
    respond_by: Moment | None = None
    payment: Known | None = None

    @property
    def money(self) -> Money:
        return self.stated.money if self.stated else UNSTATED

    @property
    def funds(self) -> str | None:
        """Withdrawn, or reinstated since; None if the amount was never taken."""
        stated = self.stated_funds.value if self.stated_funds else None
        if stated == "not_withdrawn":
            return "reinstated" if self.withdrawn else None
        return stated


class InvoiceState(_State, frozen=True, kw_only=True, omit_defaults=True):
    """
    `failed` is the latest failed attempt; None in a state of an earlier release. `failed_attempt` is the highest count that a
    failed attempt stated, -1 if none has failed.

    The count orders no attempts: at Stripe a retry by hand does not change it, and a decline that allows no retry raises it
    without an attempt (https://docs.stripe.com/api/invoices/object).
    """

    updated: int = 0
    phase: InvoicePhase | None = None
    failed_attempt: int = -1
    failed: Stamp | None = None
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
        """Paid is final over void, and void over uncollectible; an open invoice has failed once an attempt has."""
        if self.phase is None:
            return "open"  # only a payment has named it so far, and only an open invoice has payments
        return "payment_failed" if self.phase == "open" and self.failed_attempt >= 0 else self.phase

    @property
    def money(self) -> Money:
        """The billed amount, by the invoice itself or else by its payment."""
        return _amount_of(self.billed, self.hinted)


State = PaymentState | RefundState | DisputeState | SubscriptionState | InvoiceState


def _amount_of(*stated: Stated | None) -> Money:
    """Return the first amount; without a currency it gets the one of a later amount."""
    monies = [each.money for each in stated if each]
    amount = next((money.amount for money in monies if money != UNSTATED), UNSTATED.amount)
    return Money(amount, next((money.currency for money in monies if money.whole), UNSTATED.currency))
