"""An event survives its way through Kafka's headers; headers that are not ours are refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import Event, format_time, from_headers, to_headers
from schemas.errors import SchemaError

ID: Final = UUID("019ab2f0-6c00-7abc-8def-0123456789ab")
OTHER_ID: Final = UUID("019ab2f0-6c01-7abc-8def-0123456789ab")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def envelope(**changes: Any) -> Event:
    fields = {
        "id": ID,
        "topic": "webhooks.stripe",
        "source": "stripe",
        "type": "com.stripe.payment_intent.succeeded",
        "aggregate_id": "pi_1",
        "occurred_at": datetime(2026, 11, 24, 12, tzinfo=UTC),
        "dataschema": "urn:tallyhook:com.stripe.event:1",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "data": b"{}",
    }
    return Event(**(fields | changes))


def on_the_wire(event: Event, **changes: bytes | None) -> list[tuple[str, bytes | None]]:
    return [(name, changes.get(name, str(value).encode())) for name, value in to_headers(event)]


@given(
    event=st.builds(
        Event,
        id=st.uuids(),
        topic=TEXT,
        source=TEXT,
        type=TEXT,
        aggregate_id=TEXT,
        occurred_at=st.datetimes(timezones=st.just(UTC)),
        dataschema=TEXT,
        traceparent=TEXT,
        data=st.binary(),
        causation_id=st.none() | st.uuids(),
        replay_id=st.none() | st.uuids(),
        livemode=st.none() | st.booleans(),
        account=st.none() | TEXT,
        endpoint=st.none() | TEXT,
        content_type=TEXT,
    )
)
def test_an_event_survives_its_way_through_a_record(event: Event) -> None:
    assert from_headers(event.topic, on_the_wire(event), event.data) == event


def test_the_headers_are_those_of_the_contract() -> None:
    event = envelope(causation_id=OTHER_ID, replay_id=OTHER_ID, livemode=False, account="acct_1", endpoint="eu")
    assert to_headers(event) == [
        ("ce_id", "019ab2f0-6c00-7abc-8def-0123456789ab"),
        ("ce_source", "stripe"),
        ("ce_type", "com.stripe.payment_intent.succeeded"),
        ("ce_subject", "pi_1"),
        ("ce_time", "2026-11-24T12:00:00Z"),
        ("ce_specversion", "1.0"),
        ("ce_dataschema", "urn:tallyhook:com.stripe.event:1"),
        ("content-type", "application/json"),
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
        ("ce_causationid", "019ab2f0-6c01-7abc-8def-0123456789ab"),
        ("ce_replayid", "019ab2f0-6c01-7abc-8def-0123456789ab"),
        ("ce_livemode", "false"),
        ("ce_account", "acct_1"),
        ("ce_endpoint", "eu"),
    ]


REQUIRED = [name for name, _ in to_headers(envelope())]


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_header_is_named(missing: str) -> None:
    headers = [(name, value) for name, value in on_the_wire(envelope()) if name != missing]
    with pytest.raises(SchemaError, match=f"the header {missing} is missing") as caught:
        from_headers("t", headers, b"{}")
    assert caught.value.reason == "envelope_incomplete"


@pytest.mark.parametrize("empty", REQUIRED)
def test_a_header_without_a_value_is_missing(empty: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_headers("t", on_the_wire(envelope(), **{empty: None}), b"{}")
    assert caught.value.reason == "envelope_incomplete"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ce_id", b"evt_1"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-11-24T12:00:00"),
        ("ce_specversion", b"0.3"),
        ("ce_subject", b"\xff"),
        ("ce_causationid", b"evt_1"),
        ("ce_replayid", b""),
    ],
)
def test_a_header_that_makes_no_sense_is_malformed(header: str, value: bytes) -> None:
    whole = envelope(causation_id=OTHER_ID, replay_id=OTHER_ID)
    with pytest.raises(SchemaError) as caught:
        from_headers("t", on_the_wire(whole, **{header: value}), b"{}")
    assert caught.value.reason == "envelope_malformed"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 24, 12, tzinfo=UTC), "2026-11-24T12:00:00Z"),
        (datetime(2026, 11, 24, 12, 0, 0, 1500, tzinfo=UTC), "2026-11-24T12:00:00.001500Z"),
        (datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2026-11-24T06:30:00Z"),
    ],
)
def test_a_time_is_written_in_utc_with_microseconds_only_if_there_are_any(moment: datetime, text: str) -> None:
    assert format_time(moment) == text
