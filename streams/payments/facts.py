"""
Facts: what one provider event states about one payment, refund, dispute, subscription or invoice, in no provider's terms.

A provider needs a translator to these records and nothing else: the fold, the store and the handler know only them. A text that
Postgres cannot hold is left out of an optional field: a NUL there must not make the whole event fail.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
import structlog

from schemas.currencies import NO_CURRENCY
from schemas.numbers import whole
from schemas.providers import ProviderName
from schemas.text import Currency, accepts, is_storable
from streams.errors import Poison, PoisonReason

Progress = Literal["pending", "processing", "failed", "canceled"]
InvoicePhase = Literal["draft", "open", "uncollectible", "void", "paid"]


FETCHED: Final = "fetched_"
"""The ids of events that we made from an object of the provider's API begin with this."""


class Stamp(NamedTuple):
    """
    The place of a fact in the order: facts are ordered by it, in whatever order they arrive.

    `at` is the provider's time in Unix seconds; `rank` is the place in the lifecycle, for facts of one second; `event` is the
    provider's event id, so that no two stamps are ever equal.
    """

    at: int
    rank: int
    event: str

    @property
    def fetched(self) -> bool:
        """True if the event is an answer of the provider's API, which was asked because of another event."""
        return self.event.startswith(FETCHED)


class Money(NamedTuple):
    """Minor units of a currency (ISO 4217, lower case)."""

    amount: int
    currency: str

    @property
    def whole(self) -> bool:
        return self.currency != NO_CURRENCY


UNSTATED: Final = Money(0, NO_CURRENCY)


def money(amount: int | None, currency: str | None) -> Money:
    """Return the amount that a provider states. Without a valid currency it is kept too, to be completed later."""
    code = currency or ""
    return UNSTATED if amount is None else Money(amount, code.lower() if accepts(Currency, code) else NO_CURRENCY)


class Total(NamedTuple):
    """
    The amount of a payment that a provider reports as refunded by a moment: Unix seconds, and minor units.

    `after_failures` is true if it excludes the refunds that failed in the same second: a total that comes with a new refund is
    older than a failure of that second, and a total that comes with any other change is younger.
    """

    at: int
    amount: int
    after_failures: bool = False


class StatedRefund(NamedTuple):
    """One refund of a payment, as an event states it; `gone` if the refund failed or was canceled."""

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
    A fact about a payment.

    `requested` is the amount that the payer should pay, and `hinted` the same as another object (its invoice, one of its charges)
    states it, which counts only until the payment states its own; `captured` is the received amount, and `vouched` the same as
    another object states it, which again counts only until the payment states its own. `refunded` is the provider's running
    total, `refunds` are single ones. Of a partial capture, `refunded_whole` is the total with what was released, if the provider
    counts that, and `unreleased` the captured amount for which it is known not to. `witnessed` is true if `progress` is stated by
    a part of the payment; the payment itself states it too. `second_hand` is true if another object states reference, customer
    and user, which count only until the payment states its own: a charge keeps the metadata that its intent had when it was made.
    """

    progress: Progress | None = None
    witnessed: bool = False
    second_hand: bool = False
    requested: Money | None = None
    hinted: Money | None = None
    captured: Money | None = None
    vouched: Money | None = None
    refunded: Total | None = None
    refunds: tuple[StatedRefund, ...] = ()
    refunded_whole: Total | None = None
    unreleased: int | None = None
    reference: str | None = None
    customer_id: str | None = None
    user_id: str | None = None
    contact: str | None = None
    invoice_id: str | None = None
    subscription_id: str | None = None


class RefundFact(_Fact, frozen=True, kw_only=True):
    """
    A fact about a refund.

    `status` is pending, requires_action, succeeded, failed or canceled, or another word of the provider;
    `gone` is true if the money does not reach the payer. `created` is Unix seconds.
    """

    status: str
    gone: bool
    amount: Money = UNSTATED
    created: int | None = None
    reason: str | None = None
    failure_reason: str | None = None
    payment_id: str | None = None


Funds = Literal["withdrawn", "reinstated", "not_withdrawn"]


class DisputeFact(_Fact, frozen=True, kw_only=True):
    """
    A fact about a dispute.

    `status` is the provider's word, and `ended` is true if no other follows it. `funds` is the state of the disputed amount:
    `not_withdrawn` means that the merchant has it, whether it was withdrawn before or not. Evidence is accepted until
    `respond_by`, in Unix seconds.
    """

    status: str
    ended: bool
    amount: Money = UNSTATED
    reason: str | None = None
    payment_id: str | None = None
    respond_by: int | None = None
    funds: Funds | None = None


class Before(NamedTuple):
    """The values that a subscription had before the event; None for a value that the event has not changed."""

    status: str | None = None
    current_period_end: int | None = None


class SubscriptionFact(_Fact, frozen=True, kw_only=True):
    """
    A fact about a subscription, always with its whole state. `status` is the provider's word, and `ended` is true if no other
    follows it.
    """

    status: str
    ended: bool
    current_period_end: int | None = None
    before: Before = Before()
    customer_id: str | None = None


class InvoiceFact(_Fact, frozen=True, kw_only=True):
    """
    A fact about an invoice.

    `phase` and `billed` come from the invoice itself, `hinted` comes from a payment. `failed` is true if an attempt to collect it
    failed. `attempt` is the provider's count of attempts, in which not every attempt counts.
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


Notes = dict[str, Any] | list[Any] | None
"""Key-value pairs of the merchant; PHP writes an empty object as a list."""

TEXT_MAX: Final = 500


def text_in(notes: Notes, *names: str) -> str | None:
    """Return the first text that can be kept among the notes of these names."""
    if not isinstance(notes, dict):
        return None
    return next((text for name in names if (text := text_of(notes.get(name)))), None)


def reference_in(notes: Notes) -> str | None:
    """Return the reference under which `payments/expect` expects a payment."""
    return text_in(notes, "reference", "order_id")


def user_in(notes: Notes) -> str | None:
    return text_in(notes, "user_id", "userId")


def text_of(value: Any) -> str | None:
    """Return a merchant's text, or whole number as text; None for any other value, or if it is too long for an index."""
    if (number := whole(value)) is not None:
        value = str(number)
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_MAX else None


log = structlog.get_logger()

AnyFact = TypeVar("AnyFact", bound=Fact)


def storable(fact: AnyFact) -> tuple[AnyFact, list[str]]:
    """
    Return the fact without the texts that Postgres cannot store, and the names of their fields.

    Raises Poison `text_unstorable` if the field is required: an id, a status or a currency.
    """
    optional = {field.name: getattr(fact, field.name) for field in msgspec.structs.fields(fact) if field.default is None}
    left_out = [name for name, value in optional.items() if not is_storable(value)]
    kept = msgspec.structs.replace(fact, **dict.fromkeys(left_out))
    if not is_storable(msgspec.structs.astuple(kept)):
        raise Poison(PoisonReason.TEXT_UNSTORABLE, "a text that has to be stored holds a NUL, which Postgres cannot")
    return kept, left_out


_UNLOGGED: Final = ContextVar("unlogged", default=False)


@contextmanager
def unlogged() -> Iterator[None]:
    """Log no fields that are left out meanwhile: a caller that only reads events again has nothing new to report."""
    token = _UNLOGGED.set(True)
    try:
        yield
    finally:
        _UNLOGGED.reset(token)


def note_left_out(names: Sequence[str], **event: object) -> None:
    """Log the fields that were left out of an event's effects, with what identifies the event."""
    if names and not _UNLOGGED.get():
        log.warning("words_left_out", fields=names, **event)
