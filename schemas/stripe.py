"""A Stripe event as far as everyone needs it: who it is, when it happened, which object it speaks of (https://docs.stripe.com/api/events/object)."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from schemas import text
from schemas.envelope import EARLIEST, LATEST
from schemas.rules import Json, never

SOURCE: Final = "stripe"
TYPE_PREFIX: Final = "com.stripe."
DATASCHEMA: Final = "urn:tallyhook:com.stripe.event:1"
THIN: Final = "v2.core.event"
"""The `object` of a thin event; that of a snapshot event is `event`."""

# What the payments worker folds. Anything else is acknowledged and stored, and can be replayed once it has a handler.
HANDLED_TYPES: Final = frozenset(
    {
        "payment_intent.created",
        "payment_intent.processing",
        "payment_intent.amount_capturable_updated",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.partially_funded",
        "charge.succeeded",
        "charge.failed",
        "charge.captured",
        "charge.pending",
        "charge.expired",
        "charge.updated",
        "charge.refunded",
        "charge.refund.updated",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "checkout.session.completed",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
        "checkout.session.expired",
        "invoice.created",
        "invoice.finalized",
        "invoice.finalization_failed",
        "invoice.updated",
        "invoice.sent",
        "invoice.will_be_due",
        "invoice.overdue",
        "invoice.paid",
        "invoice.overpaid",
        "invoice.payment_succeeded",
        "invoice.payment_failed",
        "invoice.payment_action_required",
        "invoice.voided",
        "invoice.marked_uncollectible",
        "invoice.deleted",
        "invoice_payment.paid",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
    }
)


Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""Stripe's own bound on ids; beyond it an index of Postgres might refuse the row."""
# The microseconds are taken off first: at that size a float would round them up to a second more.
Seconds = Annotated[int, msgspec.Meta(ge=int(EARLIEST.timestamp()), le=int(LATEST.replace(microsecond=0).timestamp()))]
"""Of Unix, as far as an event can carry its time."""


class EventObject(msgspec.Struct, frozen=True):
    """The object of an event, with the fields that decide its order among other events."""

    object: Word | None = None  #: The type of the object, such as `payment_intent`.
    id: Word | None = None  #: The object's id.
    payment_intent: str | dict[str, Any] | None = None  #: The payment that the object belongs to: its id, or the whole object.
    charge: str | dict[str, Any] | None = None  #: The charge that the object belongs to: its id, or the whole object.
    invoice: str | dict[str, Any] | None = None  #: The invoice that the object belongs to: its id, or the whole object.


class EventData(msgspec.Struct, frozen=True):
    """The data of an event."""

    object: EventObject | None = None  #: The object after the event.


class StripeEvent(msgspec.Struct, frozen=True):
    """
    An event as Stripe sends it, byte for byte (https://docs.stripe.com/api/events/object).

    `data.object` is the object as it was at the time of the event.
    """

    id: Word  #: Stripe's id of the event, `evt_…`.
    type: Word  #: The type, such as `payment_intent.succeeded`.
    created: Seconds  #: When it happened, in Unix seconds.
    data: EventData | None = None  #: The object that the event is about.
    object: str = "event"  #: Always `event`.
    api_version: str | None = None  #: The version of Stripe's API that formed `data`.
    livemode: bool | None = None  #: False if no real money moves.
    account: str | None = None  #: The connected account, `acct_…`; absent for your own.
    context: str | None = None  #: The path of accounts, for endpoints of an organization.

    rules: ClassVar[Json] = never({"type": "object", "properties": {"object": {"const": THIN}}, "required": ["object"]})

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, tz=UTC)


Mode = Literal["live", "test"]
"""Whether real money moves."""
ModeOrAny = Literal["live", "test", "any"]
"""Which events are wanted."""


def account_of(account: str | None, context: str | None) -> str | None:
    """
    Whose an event is: the connected account that it names, else the one at the end of its context; None where it is our own.

    An endpoint of an organization is told by the `context` alone whose an event is
    (https://docs.stripe.com/changelog/basil/2025-04-30/additional-context-organization-events), and so is one of thin events. It
    is a path from us to the account, such as `acct_platform/acct_connected` (https://docs.stripe.com/context). What could be no
    account's id is none.
    """
    named = (account, (context or "").rpartition("/")[2])
    return next((each for each in named if each and text.accepts(text.Word, each)), None)


class Aggregate(NamedTuple):
    """What keeps its order: events of one aggregate reach one partition."""

    type: str
    id: str


def aggregate_of(event: StripeEvent) -> Aggregate:
    """The aggregate whose history the event belongs to; a type we do not know stands for itself."""
    subject = event.data.object if event.data else None
    if subject is None or subject.object is None:
        return Aggregate("event", event.id)
    kind, found = _OWNERS.get(subject.object, (subject.object, _own))
    name = found(subject)
    return Aggregate(kind, name) if name else Aggregate(subject.object, subject.id or event.id)


def _own(subject: EventObject) -> str | None:
    return subject.id


def _of_charge(subject: EventObject) -> str | None:
    return reference(subject.payment_intent) or subject.id


def _of_refund(subject: EventObject) -> str | None:
    return reference(subject.payment_intent) or reference(subject.charge)


def _of_invoice_payment(subject: EventObject) -> str | None:
    return reference(subject.invoice)


_OWNERS: Final[dict[str, tuple[str, Callable[[EventObject], str | None]]]] = {
    "payment_intent": ("payment", _own),
    "charge": ("payment", _of_charge),
    "refund": ("payment", _of_refund),
    "invoice_payment": ("invoice", _of_invoice_payment),
}
"""Whose history the events of an object belong to, where it is not its own."""


def reference(value: str | dict[str, Any] | None) -> str | None:
    """The id behind a field that the API may have expanded into the whole object."""
    if isinstance(value, dict):
        found = value.get("id")
        return found if isinstance(found, str) else None
    return value
