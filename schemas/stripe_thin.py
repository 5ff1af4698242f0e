"""
Stripe's thin events (https://docs.stripe.com/api/v2/core/events/object): they name an object and do not hold its state.

The state has to be fetched from the API. The snapshot event of the same change has another id, if there is one at all.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec

from schemas.providers import Aggregate, Word

THIN: Final = "v2.core.event"
"""The `object` of a thin event; that of a snapshot event is `event`."""
DATASCHEMA: Final = "urn:tallyhook:com.stripe.v2.core.event:1"

API_KEY_MISSING: Final = "api_key_missing"
"""The reason why a thin event is ignored without STRIPE_API_KEY: the object that it names cannot be fetched."""
OBJECT_UNNAMED: Final = "object_unnamed"
"""The reason why a thin event is ignored that names no object."""


class RelatedObject(msgspec.Struct, frozen=True):
    """The object that an event is about: `type` is its `object`, such as `billing.meter`. One that is unique has no id."""

    id: Word | None = None
    type: Word | None = None


class ThinEvent(msgspec.Struct, frozen=True):
    """A thin event of Stripe: it names an object and does not hold it. `context` is the account that the object belongs to."""

    id: Word
    type: Word
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    object: str = THIN
    related_object: RelatedObject | None = None
    context: Word | None = None
    livemode: bool | None = None


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


def is_asked_for(kind: str) -> bool:
    """Return True if events of the type name an object that the payments worker folds, so that it is fetched from the API."""
    return kind.startswith(_FAMILIES)


def aggregate_of(event: ThinEvent) -> Aggregate:
    """The object that the event names; an event without one is an aggregate of its own."""
    named = event.related_object
    if named is None or named.id is None or named.type is None:
        return Aggregate("event", event.id)
    return Aggregate(_KINDS.get(named.type, named.type), named.id)
