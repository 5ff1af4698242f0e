"""Webhooks on Kafka, as the gateway and the relay write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.bodies import make_bodies
from benchmarks.producer import Ready, produce
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from schemas.stripe import DATASCHEMA, TYPE_PREFIX
from schemas.topics import Topic

if TYPE_CHECKING:
    from benchmarks.bodies import Body


def preload(bootstrap: str, number: int) -> int:
    """Produce `number` paid payments to the topic of Stripe's webhooks; returns how many Kafka acknowledged."""
    return produce(bootstrap, [_record(body) for body in make_bodies(number)])


def _record(body: Body) -> Ready:
    event = Event(
        id=new_id(),
        topic=Topic.WEBHOOKS_STRIPE,
        source="/webhooks/stripe",
        type=f"{TYPE_PREFIX}payment_intent.succeeded",
        aggregate_id=body.payment,
        occurred_at=datetime.fromtimestamp(int(time.time()), tz=UTC),
        dataschema=DATASCHEMA,
        traceparent=new_trace().traceparent,
        data=body.data,
    )
    return Ready(event.topic, event.data, event.aggregate_id, to_headers(event))
