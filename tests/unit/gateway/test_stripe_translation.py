"""The event that a verified Stripe body becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from runtime.ids import new_id
from tests.simulators.stripe import Payment

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def arrive(body: bytes) -> Arrival:
    return Arrival(new_id(), TRACEPARENT, "1a2b3c4d", body, CIMultiDictProxy(CIMultiDict()))


def make_event(**changes: Any) -> bytes:
    event = {
        "id": "evt_1",
        "type": "payment_intent.succeeded",
        "created": 1_700_000_000,
        "data": {"object": {"object": "x", "id": "x_1"}},
    }
    return msgspec.json.encode(event | changes)


def reason_of(body: bytes) -> Reason:
    with pytest.raises(GatewayError) as refusal:
        translate(arrive(body))
    return refusal.value.reason


def test_an_event_keeps_its_bytes_its_trace_and_the_id_of_its_arrival() -> None:
    arrival = arrive(Payment(id="pi_7").succeeded(at=1_763_561_586, event_id="evt_7"))
    received = translate(arrival)
    assert received.event.id == arrival.id
    assert received.event.data is arrival.body
    assert received.event.traceparent == TRACEPARENT
    assert (received.event.aggregate_type, received.event.aggregate_id) == ("payment", "pi_7")
    assert (received.event.topic, received.event.source) == ("webhooks.stripe", "/webhooks/stripe")
    assert received.event.type == "com.stripe.payment_intent.succeeded"
    assert received.event.occurred_at == datetime.fromtimestamp(1_763_561_586, UTC)
    assert (received.source, received.provider_event_id, received.type) == ("stripe", "evt_7", "payment_intent.succeeded")
    assert received.secret_id == "1a2b3c4d"
    assert received.handled


def test_a_type_without_a_handler_is_marked_so() -> None:
    assert not translate(arrive(make_event(type="radar.early_fraud_warning.created"))).handled


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.BODY_NOT_JSON),
        (b"{", Reason.BODY_NOT_JSON),
        (b'{"id":"evt', Reason.BODY_NOT_JSON),
        (b'{"id":"\xff"}', Reason.BODY_NOT_UTF8),
        (make_event()[:-1] + b', "note": "caf\xe9"}', Reason.BODY_NOT_UTF8),
        (b"[" * 100_000, Reason.BODY_NOT_JSON),
        (b"null", Reason.EVENT_MALFORMED),
        (b"[]", Reason.EVENT_MALFORMED),
        (b'"evt_1"', Reason.EVENT_MALFORMED),
        (b"{}", Reason.EVENT_MALFORMED),
        (make_event(id=None), Reason.EVENT_MALFORMED),
        (make_event(id=""), Reason.EVENT_MALFORMED),
        (make_event(id="e" * 256), Reason.EVENT_MALFORMED),
        (make_event(type="t" * 256), Reason.EVENT_MALFORMED),
        (make_event(created="yesterday"), Reason.EVENT_MALFORMED),
        (make_event(created=10**15), Reason.EVENT_MALFORMED),
        (make_event(created=253_370_764_800), Reason.EVENT_MALFORMED),
        (make_event(created=-(10**15)), Reason.EVENT_MALFORMED),
    ],
)
def test_a_body_that_is_no_event_has_its_reason(body: bytes, reason: Reason) -> None:
    assert reason_of(body) is reason


@pytest.mark.parametrize(
    "data",
    [
        [],
        "none",
        {"object": []},
        {"object": {"object": 5, "id": "pi_1"}},
        *({"object": {"object": "payment_intent", "id": name}} for name in ("", "p" * 256, 5, None)),
        *({"object": {"object": "thing", name: value}} for name in ("charge", "invoice", "payment_intent") for value in (5, [1])),
    ],
)
def test_an_unknown_object_does_not_even_lose_its_event(data: Any) -> None:
    assert translate(arrive(make_event(data=data))).provider_event_id == "evt_1"


def test_half_of_a_surrogate_pair_does_not_even_lose_its_event() -> None:
    body = make_event(data={"object": {"object": "payment_intent", "id": "pi_1", "description": "x"}}).replace(
        b'"x"', rb'"\ud83d"'
    )
    received = translate(arrive(body))
    assert (received.event.aggregate_id, received.event.data) == ("pi_1", body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_any_other_json_is_a_malformed_event(value: Any) -> None:
    assert reason_of(msgspec.json.encode(value)) is Reason.EVENT_MALFORMED


@given(st.binary())
def test_any_other_bytes_are_refused_and_never_a_crash(body: bytes) -> None:
    assert reason_of(body) in {Reason.BODY_NOT_UTF8, Reason.BODY_NOT_JSON, Reason.EVENT_MALFORMED}
