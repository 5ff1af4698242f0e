"""
Stripe's thin events (https://docs.stripe.com/api/v2/core/events/object): they name an object and do not hold its state.

The state has to be fetched from the API. The snapshot event of the same change has another id, if there is one at all.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from schemas.foreign_json import Truth
from schemas.providers import Aggregate, Word

DATASCHEMA: Final = "urn:tallyhook:com.stripe.v2.core.event:1"

API_KEY_MISSING: Final = "api_key_missing"
"""The reason why a thin event is ignored without STRIPE_API_KEY: the object that it names cannot be fetched."""
OBJECT_UNNAMED: Final = "object_unnamed"
"""The reason why a thin event without an object is ignored."""


class RelatedObject(msgspec.Struct, frozen=True):
    """The object that a thin event is about."""

    id: Word | None = None  #: The object's id; absent if there is only one of the type.
    type: Word | None = None  #: The type of the object, such as `billing.meter`.


class ThinEvent(msgspec.Struct, frozen=True):
    """
    A thin event as Stripe sends it (https://docs.stripe.com/api/v2/core/events/object).

    It names an object and does not contain it; the payments worker fetches the object from Stripe's API.
    """

    id: Word  #: Stripe's id of the event, `evt_…`.
    type: Word  #: The type, such as `v1.invoice.paid`.
    created: Annotated[datetime, msgspec.Meta(tz=True)]  #: When it happened, in RFC 3339.
    object: Literal["v2.core.event"]  #: The value that distinguishes it from a snapshot event.
    related_object: RelatedObject | None = None  #: The object that the event is about; absent if there is none.
    context: Word | None = None  #: The account that the object belongs to.
    livemode: Truth | None = None  #: False if no real money moves.


_FAMILIES: Final = (
    "v1.payment_intent.",
    "v1.charge.",
    "v1.refund.",
    "v1.checkout.session.",
    "v1.invoice.",
    "v1.invoice_payment.",
    "v1.customer.subscription.",
)
_KINDS: Final = {"payment_intent": "payment"}
"""Aggregates whose name differs from Stripe's; the id of a charge or a refund does not identify its payment."""


def is_fetched(kind: str) -> bool:
    """Return True if events of the type name an object that the payments worker folds, so that it is fetched from the API."""
    return kind.startswith(_FAMILIES)


def aggregate_of(event: ThinEvent) -> Aggregate:
    """The object that the event names; an event without one is its own aggregate."""
    named = event.related_object
    if named is None or named.id is None or named.type is None:
        return Aggregate("event", event.id)
    return Aggregate(_KINDS.get(named.type, named.type), named.id)
