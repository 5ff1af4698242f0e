"""A record is an event, or poison with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import pytest

from schemas.envelope import Event, to_headers
from streams.errors import Poison
from streams.records import OddHeaders, Record, decode

EVENT: Final = Event(
    id=UUID("019ab2f0-6c00-7abc-8def-0123456789ab"),
    topic="topic",
    source="stripe",
    type="com.stripe.payment_intent.succeeded",
    aggregate_id="pi_1",
    occurred_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    dataschema="urn:tallyhook:com.stripe.event:1",
    traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    data=b"{}",
)


def record(value: bytes | None = b"{}", **headers: bytes | None) -> Record:
    """The event's record with some headers replaced; None takes one away."""
    given = {name: str(text).encode() for name, text in to_headers(EVENT)} | headers
    return Record("topic", 0, 7, b"pi_1", value, [(name, text) for name, text in given.items() if text is not None])


def test_a_record_of_ours_is_its_event() -> None:
    assert decode(record()) == EVENT


def test_empty_data_is_data() -> None:
    assert decode(record(b"")).data == b""


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record(None), "value_missing"),
        (record(ce_id=None), "envelope_incomplete"),
        (record()._replace(headers=[]), "envelope_incomplete"),
        (record()._replace(headers=[(name, None) for name, _ in record().headers]), "envelope_incomplete"),
        (record(ce_id=b"evt_1"), "envelope_malformed"),
        (record()._replace(headers=OddHeaders(record().headers)), "envelope_malformed"),
        (record(ce_subject=b"\xff"), "envelope_malformed"),
        (record(ce_time=b"2026-11-24T12:00:00"), "envelope_malformed"),
        (record(ce_time=b"0001-01-01T00:00:00+14:00"), "envelope_malformed"),
        (record(ce_time=b"0001-01-01T00:00:00Z"), "envelope_malformed"),
        (record(ce_time=b"1969-12-31T23:59:59.999999Z"), "envelope_malformed"),
        (record(ce_time=b"1970-01-01T00:00:00+00:01"), "envelope_malformed"),
        (record(ce_time=b"9998-12-31T23:59:59-00:01"), "envelope_malformed"),
        (record(ce_time=b"9999-12-31T23:59:59-14:00"), "envelope_malformed"),
        (record(ce_time=b"2026-11-24T12:00:00+99:99"), "envelope_malformed"),
        (record(ce_time=b"infinity"), "envelope_malformed"),
        (record(ce_time=b"2026-11-24T12:00:00Z\0"), "envelope_malformed"),
        (record(ce_time=b"2026-11-24T12:00:00.123456\n78Z"), "envelope_malformed"),
        (record(ce_time="2026-11-24T12:00:00.123456\u0663Z".encode()), "envelope_malformed"),
        (record(ce_account=b"acct_\0"), "envelope_malformed"),
        (record(ce_endpoint=b"\0"), "envelope_malformed"),
        (record(ce_subject=b"a\0b"), "envelope_malformed"),
        (record(traceparent=b"\0"), "envelope_malformed"),
        (record(ce_type=b"\0"), "envelope_malformed"),
        (record(ce_id=b"16fd2706-8baf-433b-82eb-8c7fada847da"), "event_id_unordered"),
    ],
)
def test_a_record_that_is_no_event_of_ours_is_poison_with_a_reason(broken: Record, reason: str) -> None:
    with pytest.raises(Poison) as caught:
        decode(broken)
    assert caught.value.reason == reason
