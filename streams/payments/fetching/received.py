"""Converts an answer of Stripe's API into the delivery that intake would have received, without a signature."""

from typing import Final
from uuid import UUID

from outbox.append import Received
from schemas.envelope import Event
from schemas.foreign_json import Decoder
from schemas.providers import account_of
from schemas.stripe import DATASCHEMA, SOURCE, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.topics import webhooks_of

_event: Final = Decoder(StripeEvent)


def received_of(body: bytes, event_id: UUID, traceparent: str) -> Received:
    """Return the body of `schemas.stripe_snapshots.snapshot_of` as a delivery of the id. Raises msgspec.DecodeError."""
    event = _event.decode(body)
    aggregate = aggregate_of(event)
    return Received(
        event=Event(
            id=event_id,
            topic=webhooks_of("stripe"),
            aggregate_type=aggregate.type,
            aggregate_id=aggregate.id,
            source="/webhooks/stripe",
            type=TYPE_PREFIX + event.type,
            dataschema=DATASCHEMA,
            occurred_at=event.occurred_at,
            traceparent=traceparent,
            data=body,
            livemode=event.livemode,
            account=account_of(event.account, event.context),
        ),
        source=SOURCE,
        provider_event_id=event.id,
        type=event.type,
        secret_id=None,
    )
