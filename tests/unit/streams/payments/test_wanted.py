"""The objects to fetch for thin events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.stripe_thin import DATASCHEMA
from streams.errors import Poison
from streams.payments.fetching.wanted import of_thin_events

DEEP = b'{"id":"evt_1","changes":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"id":"\xff"}', DEEP], ids=["cut", "empty", "not_utf8", "deep"])
def test_a_thin_event_that_cannot_be_read_is_poison_and_named(data: bytes) -> None:
    event = Event(
        id=new_id(), topic="webhooks.stripe", aggregate_id="evt_1", source="/webhooks/stripe", type="com.stripe.v1.charge.failed",
        dataschema=DATASCHEMA, occurred_at=datetime.now(UTC), traceparent=new_trace().traceparent, data=data,
    )  # fmt: skip
    with pytest.raises(Poison) as poison:
        of_thin_events([event])
    assert (poison.value.reason, poison.value.event_id) == ("event_malformed", event.id)
