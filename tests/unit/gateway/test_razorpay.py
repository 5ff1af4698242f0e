"""A Razorpay delivery: its signature, and the event that a verified body becomes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources import Arrival, Headers
from gateway.webhooks.sources.razorpay import RAZORPAY, translate, verify
from runtime.ids import new_id
from runtime.settings import Secret
from schemas.razorpay import HANDLED_TYPES
from tests.simulators.razorpay import START, Payment, Subscription, event, sign

NEWEST, OLDER, STRANGE = Secret("newest"), Secret("older"), Secret("strange")
BODY = '{"event":"x","name":"Zoë \\/ \\"quoted\\""}'.encode()
GOOD = sign(BODY, NEWEST.value)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def headers(*pairs: tuple[str, str]) -> Headers:
    return CIMultiDictProxy(CIMultiDict(pairs))


def check(*signatures: str, body: bytes = BODY) -> Secret:
    return verify(body, headers(*(("X-Razorpay-Signature", value) for value in signatures)), (NEWEST, OLDER), 0)


def arrive(body: bytes, *pairs: tuple[str, str]) -> Arrival:
    return Arrival(new_id(), TRACEPARENT, "1a2b3c4d", body, headers(*pairs))


def test_every_live_secret_is_recognised_as_itself() -> None:
    assert check(GOOD) == NEWEST
    assert check(sign(BODY, OLDER.value)) == OLDER


@pytest.mark.parametrize(
    ("signatures", "reason"),
    [
        ((), Reason.SIGNATURE_MISSING),
        (("",), Reason.SIGNATURE_MISSING),
        (("garbage",), Reason.SIGNATURE_MALFORMED),
        ((GOOD[:-1],), Reason.SIGNATURE_MALFORMED),
        ((GOOD + "0",), Reason.SIGNATURE_MALFORMED),
        (("é" + GOOD[1:],), Reason.SIGNATURE_MALFORMED),
        (("\udcff" + GOOD[1:],), Reason.SIGNATURE_MALFORMED),
        ((GOOD, GOOD), Reason.SIGNATURE_MALFORMED),
        ((sign(BODY, STRANGE.value),), Reason.SIGNATURE_WRONG),
        ((GOOD.upper(),), Reason.SIGNATURE_WRONG),
        ((sign(BODY + b" ", NEWEST.value),), Reason.SIGNATURE_WRONG),
    ],
)
def test_a_bad_signature_has_its_reason(signatures: tuple[str, ...], reason: Reason) -> None:
    with pytest.raises(GatewayError) as refusal:
        check(*signatures)
    assert refusal.value.reason is reason


@given(st.binary(), st.text())
def test_nothing_but_a_secret_or_a_refusal_comes_of_any_header(body: bytes, signature: str) -> None:
    with pytest.raises(GatewayError):
        check(signature, body=body)


def test_an_event_keeps_its_bytes_its_trace_the_id_of_its_arrival_and_its_digest() -> None:
    arrival = arrive(Payment(id="pay_7").captured(START), ("X-Razorpay-Event-Id", "LlmHzLRuKGyXVI"))
    received = translate(arrival)
    assert received.event.id == arrival.id
    assert received.event.data is arrival.body
    assert received.event.traceparent == TRACEPARENT
    assert (received.event.aggregate_type, received.event.aggregate_id) == ("payment", "pay_7")
    assert (received.event.topic, received.event.source) == ("webhooks.razorpay", "/webhooks/razorpay")
    assert received.event.type == "com.razorpay.payment.captured"
    assert received.event.occurred_at == datetime.fromtimestamp(START, UTC)
    assert (received.source, received.provider_event_id, received.type) == ("razorpay", "LlmHzLRuKGyXVI", "payment.captured")
    assert received.digest == hashlib.sha256(arrival.body).digest()
    assert received.handled


@pytest.mark.parametrize("pairs", [(), (("X-Razorpay-Event-Id", ""),)])
def test_without_an_id_the_digest_is_the_id(pairs: tuple[tuple[str, str], ...]) -> None:
    arrival = arrive(Payment().captured(), *pairs)
    assert translate(arrival).provider_event_id == hashlib.sha256(arrival.body).hexdigest()


@pytest.mark.parametrize(
    ("body", "kind", "name"),
    [
        (Payment(id="pay_1").refunded(100), "payment", "pay_1"),
        (event("refund.created", START, payment={"id": "pay_2"}, refund={"id": "rfnd_1"}), "payment", "pay_2"),
        (Subscription(id="sub_1").charged(Payment().entity(START)), "subscription", "sub_1"),
        (event("order.paid", START, payment={"id": "pay_1"}, order={"id": "order_1"}), "order", "order_1"),
        (event("payment.downtime.started", START, **{"payment.downtime": {"id": "down_1"}}), "payment", "evt"),
        (event("account.suspended", START, account={}), "account", "evt"),
    ],
)
def test_an_event_belongs_to_the_aggregate_that_it_moves(body: bytes, kind: str, name: str) -> None:
    translated = translate(arrive(body, ("X-Razorpay-Event-Id", "evt"))).event
    assert (translated.aggregate_type, translated.aggregate_id) == (kind, name)


def test_a_type_without_a_handler_is_marked_so() -> None:
    assert "order.paid" not in HANDLED_TYPES
    assert not translate(arrive(event("order.paid", START, order={"id": "order_1"}))).handled


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.BODY_NOT_JSON),
        (b"{not json", Reason.BODY_NOT_JSON),
        (b'{"event":"\xff"}', Reason.BODY_NOT_UTF8),
        (Payment(id="pay_1").captured(START)[:-1] + b', "note": "caf\xe9"}', Reason.BODY_NOT_UTF8),
        (b"[1,2]", Reason.EVENT_MALFORMED),
        (b'{"event":"payment.captured"}', Reason.EVENT_MALFORMED),
        (event("", START), Reason.EVENT_MALFORMED),
        (event("e" * 256, START), Reason.EVENT_MALFORMED),
        (event("payment.captured", START, payment={"id": "p" * 256}), Reason.EVENT_MALFORMED),
        (event("payment.captured", 10**15, payment={"id": "pay_1"}), Reason.EVENT_MALFORMED),
    ],
)
def test_a_body_that_is_no_event_is_refused(body: bytes, reason: Reason) -> None:
    with pytest.raises(GatewayError) as refusal:
        translate(arrive(body))
    assert refusal.value.reason is reason


@pytest.mark.parametrize("names", [("e" * 256,), ("two words",), ("é",), ("evt_1", "evt_2")])
def test_an_id_that_is_no_word_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(GatewayError) as refusal:
        translate(arrive(Payment().captured(), *(("X-Razorpay-Event-Id", name) for name in names)))
    assert refusal.value.reason is Reason.EVENT_MALFORMED


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_an_event_or_a_refusal(payload: object) -> None:
    body = msgspec.json.encode({"event": "payment.captured", "created_at": 1, "payload": payload})
    assert outcome_of(body) in (None, Reason.EVENT_MALFORMED)


def outcome_of(body: bytes) -> Reason | None:
    try:
        translate(arrive(body))
    except GatewayError as error:
        return error.reason
    return None


def test_the_proof_of_origin_of_a_rejected_delivery_is_kept() -> None:
    assert RAZORPAY.kept_headers == ("X-Razorpay-Signature", "X-Razorpay-Event-Id")
