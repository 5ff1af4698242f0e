"""A Stripe event as far as every process needs it: its id, its time and its object (https://docs.stripe.com/api/events/object)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import msgspec

from schemas import stripe_thin
from schemas.foreign_json import Truth
from schemas.providers import Aggregate, Credential, Message, Provider, Seconds, Signature, WebhookSecret, Word
from schemas.rules import Json, never

SOURCE: Final = "stripe"
TYPE_PREFIX: Final = "com.stripe."
DATASCHEMA: Final = "urn:tallyhook:com.stripe.event:1"
THIN: Final = "v2.core.event"
"""The `object` of a thin event; that of a snapshot event is `event`."""

# The types that the payments worker folds. Any other event is acknowledged and stored, and can be replayed once it has a handler.
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
        "invoice.payment_attempt_required",
        "invoice.voided",
        "invoice.marked_uncollectible",
        "invoice.deleted",
        "invoice_payment.paid",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
        "customer.subscription.trial_will_end",
        "customer.subscription.pending_update_applied",
        "customer.subscription.pending_update_expired",
    }
)


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
    livemode: Truth | None = None  #: False if no real money moves.
    account: str | None = None  #: The connected account, `acct_…`; absent for your own.
    context: str | None = None  #: The path of accounts, for endpoints of an organization.

    rules: ClassVar[Json] = never({"type": "object", "properties": {"object": {"const": THIN}}, "required": ["object"]})

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, tz=UTC)


def aggregate_of(event: StripeEvent) -> Aggregate:
    """The aggregate whose history the event belongs to; an event of an unknown object is its own aggregate."""
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
"""The aggregate of an object's events, where it is not the object itself."""


def reference(value: str | dict[str, Any] | None) -> str | None:
    """The id in a field that the API may have expanded into the whole object."""
    if isinstance(value, dict):
        found = value.get("id")
        return found if isinstance(found, str) else None
    return value


PROVIDER: Final = Provider(
    name="stripe",
    title="Stripe",
    type_prefix=TYPE_PREFIX,
    handled_types=HANDLED_TYPES,
    messages=(
        Message("com.stripe.event", StripeEvent, DATASCHEMA, sorted(HANDLED_TYPES)),
        Message("com.stripe.thin.event", stripe_thin.ThinEvent, stripe_thin.DATASCHEMA, ("v1.invoice.paid",)),
    ),
    examples=(
        StripeEvent(
            id="evt_1Q",
            type="payment_intent.succeeded",
            created=1_795_514_400,
            data=EventData(EventObject("payment_intent", id="pi_1Q")),
            api_version="2026-02-25.clover",
        ),
        stripe_thin.ThinEvent(
            id="evt_6Q",
            type="v1.invoice.paid",
            created=datetime.fromtimestamp(1_795_514_400, UTC),
            object="v2.core.event",
            related_object=stripe_thin.RelatedObject("in_1Q", "invoice"),
            livemode=True,
        ),
    ),
    description="Receive an event from Stripe.\n\nThe event is a snapshot (`event`) or a thin one (`v2.core.event`). The "
    "answer is sent after the commit; a copy of a known event is a `duplicate`.",
    signature=Signature(
        "Stripe-Signature",
        "`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 of `<t>.<raw body>` under the endpoint's secret, at most 300 s from now.",
        timed=True,
    ),
    secret=WebhookSecret(
        expected="the endpoint's signing secret, which Stripe's dashboard shows as whsec_ and more",
        overlap=timedelta(hours=24),  # an old secret lives for up to 24 h: https://docs.stripe.com/webhooks#roll-endpoint-secrets
        steps=(
            "Stripe makes its own: this one is for tests and simulators.",
            "For Stripe's endpoint, roll its secret in the dashboard, keep the old one for 24 hours, and use what it shows.",
            "{first}",
            "{last}",
        ),
        prefix="whsec_",
        required=True,
    ),
    gives_up=timedelta(days=3),  # in live mode: https://docs.stripe.com/webhooks#retries; in a sandbox three tries within hours
    id_prefixes=("evt", "pi", "in", "sub", "ch", "py", "re", "pyr", "cus", "txn"),
    account_prefix="acct_",
    credentials=(
        Credential("api key", re.compile(r"[sr]k_(?:live|test)_.*"), "is an API key of Stripe"),
        Credential("publishable key", re.compile(r"pk_(?:live|test)_.*"), "is a publishable key of Stripe"),
        Credential("object", re.compile(r"(?:we|acct|evt)_[A-Za-z0-9]{8,}"), "is the id of an object of Stripe"),
    ),
    # https://docs.stripe.com/currencies#zero-decimal and #special-cases: ISK and UGX are given in hundredths, and MGA is whole.
    minor_digits={"isk": 2, "ugx": 2, "mga": 0},
    mode_setting="STRIPE_MODE",
    has_api=True,
)
