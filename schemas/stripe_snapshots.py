"""
Makes an event from an object that was fetched from Stripe's API.

The workers fold events, so a fetched object becomes one: it is recorded once, and a replay of the log finds it there.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from schemas.foreign_json import State, Truth
from schemas.providers import Word


def mode_of(key: str) -> bool | None:
    """Return True for an API key of live mode, such as `rk_live_…`, and None if the key does not show its mode."""
    return {"live": True, "test": False}.get(f"{key}__".split("_")[1])


class StripeObject(msgspec.Struct, frozen=True):
    """The fields that every object of the API has, and those that decide which event fits it."""

    id: Word
    object: str
    status: State | None = None
    last_payment_error: Any = None
    balance_transactions: Any = None
    livemode: Truth | None = None
    deleted: bool = False


class Kind(NamedTuple):
    """A kind of object that is folded: its place in the API, and the type of event for its present state, if there is one."""

    path: str
    type_of: Callable[[StripeObject], str | None]


_INTENT_TYPES: Final = {
    "requires_action": "payment_intent.requires_action",
    "processing": "payment_intent.processing",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "canceled": "payment_intent.canceled",
    "succeeded": "payment_intent.succeeded",
}


def _of_intent(intent: StripeObject) -> str:
    """
    The event of an intent. After a failed attempt it waits for the next one, and carries the error.

    Source: https://docs.stripe.com/payments/paymentintents/lifecycle.
    """
    if intent.status == "requires_payment_method" and intent.last_payment_error:
        return "payment_intent.payment_failed"
    return _INTENT_TYPES.get(intent.status or "", "payment_intent.created")


def _always(kind: str) -> Callable[[StripeObject], str | None]:
    return lambda _: kind


def _by_status(**types: str) -> Callable[[StripeObject], str | None]:
    """The event of an object by its status; a status that is not listed has none."""
    return lambda found: types.get(found.status or "")


KINDS: Final = {
    "payment_intent": Kind("/v1/payment_intents/", _of_intent),
    "charge": Kind("/v1/charges/", _always("charge.updated")),
    "refund": Kind("/v1/refunds/", _always("refund.updated")),
    "dispute": Kind("/v1/disputes/", _always("charge.dispute.updated")),
    "invoice": Kind("/v1/invoices/", _always("invoice.updated")),
    "subscription": Kind("/v1/subscriptions/", _always("customer.subscription.updated")),
    "invoice_payment": Kind("/v1/invoice_payments/", _by_status(paid="invoice_payment.paid")),
    "checkout.session": Kind(
        "/v1/checkout/sessions/", _by_status(complete="checkout.session.completed", expired="checkout.session.expired")
    ),
}
"""The kinds, by the `object` of the object."""


INVOICE_DELETED: Final = "invoice.deleted"
_WITHDRAWN: Final = "charge.dispute.funds_withdrawn"
_INFORMATIVE: Final = frozenset({"invoice.payment_failed", _WITHDRAWN, "charge.dispute.funds_reinstated"})
"""Types of events that hold more than their object."""


def informative(cause: str) -> str:
    """Return the type of the event that caused the fetch if it holds more than the object, else an empty text."""
    return cause if cause in _INFORMATIVE else ""


class _Data(msgspec.Struct):
    object: msgspec.Raw


class _Snapshot(msgspec.Struct, omit_defaults=True):
    id: str
    object: str
    type: str
    created: int
    data: _Data
    api_version: str | None = None
    livemode: bool | None = None
    account: str | None = None


class Answer(NamedTuple):
    """
    An object as the API returned it, byte for byte.

    `at` is Unix seconds by Stripe's clock: the object includes everything until then. `account` is its connected account.
    """

    found: StripeObject
    body: bytes
    at: int
    api_version: str | None = None
    account: str | None = None
    until: int | None = None
    """The latest second of Stripe's clock at which it may have been read; None if unknown."""

    @property
    def created(self) -> int:
        """
        The time of the event, in Unix seconds.

        A charge holds the total of its refunds: if it were dated before a refund in that total, the refund would count twice.
        """
        return self.until if self.found.object == "charge" and self.until is not None else self.at


def deletion_of(invoice_id: str, event_id: str, at: int, *, account: str | None, livemode: bool | None = None) -> bytes:
    """The body of the event for a deleted draft invoice, under an id that we made: the API has no object for it."""
    gone = msgspec.json.encode({"id": invoice_id, "object": "invoice", "deleted": True})
    return msgspec.json.encode(
        _Snapshot(
            id=event_id,
            object="event",
            type=INVOICE_DELETED,
            created=at,
            data=_Data(msgspec.Raw(gone)),
            livemode=livemode,
            account=account,
        )
    )


def snapshot_of(answer: Answer, event_id: str, cause: str = "") -> bytes | None:
    """The body of the event, under an id that we made; None if no event fits the object, or its kind is not folded."""
    kind = KINDS.get(answer.found.object)
    event_type = (_cause_if_current(answer.found, informative(cause)) or kind.type_of(answer.found)) if kind else None
    if event_type is None:
        return None
    return msgspec.json.encode(
        _Snapshot(
            id=event_id,
            object="event",
            type=event_type,
            created=answer.created,
            data=_Data(msgspec.Raw(answer.body)),
            api_version=answer.api_version,
            livemode=answer.found.livemode,
            account=answer.account,
        )
    )


def _cause_if_current(found: StripeObject, cause: str) -> str:
    """
    Return the cause, unless the object shows that it is over.

    An invoice may have been paid, voided or given up since its failed attempt. A dispute has a balance transaction for its
    withdrawal and another one for the money that came back (https://docs.stripe.com/api/disputes/object).
    """
    if cause == _WITHDRAWN:
        transactions = found.balance_transactions
        return "" if isinstance(transactions, list) and len(transactions) > 1 else cause
    return "" if cause.startswith("invoice.") and found.status != "open" else cause
