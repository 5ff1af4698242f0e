"""The event that a verified thin event of Stripe becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import GatewayError, Reason
from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import stripe_source, translate
from runtime.ids import new_id
from runtime.tracing import new_trace

if TYPE_CHECKING:
    from outbox.append import Received

METER = {
    "id": "evt_test_b13",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "livemode": False,
    "created": "2026-11-20T10:00:00.000Z",
    "context": None,
    "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
}
INVOICE = METER | {
    "type": "v1.invoice.paid",
    "related_object": {"id": "in_1", "type": "invoice", "url": "/v1/invoices/in_1"},
}


def received(event: dict[str, Any], *, fetches: bool = False) -> Received:
    body = msgspec.json.encode(event)
    return translate(Arrival(new_id(), new_trace().traceparent, None, body, CIMultiDictProxy(CIMultiDict())), fetches=fetches)


def without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


def test_it_is_an_event_of_the_object_that_it_names_with_a_schema_of_its_own() -> None:
    found = received(INVOICE | {"related_object": {"id": "pi_1", "type": "payment_intent", "url": "/v1/payment_intents/pi_1"}})
    assert (found.event.aggregate_type, found.event.aggregate_id) == ("payment", "pi_1")
    assert (found.event.type, found.event.topic) == ("com.stripe.v1.invoice.paid", "webhooks.stripe")
    assert found.event.dataschema == "urn:tallyhook:com.stripe.v2.core.event:1"
    assert (found.provider_event_id, found.event.occurred_at) == ("evt_test_b13", datetime(2026, 11, 20, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("event", "fetches", "ignored"),
    [
        (METER, False, "api_key_missing"),
        (METER, True, "type_not_handled"),
        (INVOICE, False, "api_key_missing"),
        (INVOICE, True, None),
        (INVOICE | {"type": "v1.customer.subscription.cancel_at_changed"}, True, None),
        (INVOICE | {"type": "v1.invoiceitem.created"}, True, "type_not_handled"),
        (INVOICE | {"type": "v2.something.nobody.knows"}, True, "type_not_handled"),
        (INVOICE | {"type": "v2.something.nobody.knows"}, False, "api_key_missing"),
        (INVOICE | {"related_object": None}, True, "object_unnamed"),
        (INVOICE | {"related_object": {"type": "balance", "url": "/v1/balance"}}, True, "object_unnamed"),
        (without(INVOICE, "related_object"), True, "object_unnamed"),
    ],
)
def test_it_goes_to_the_worker_only_if_its_object_is_folded_and_can_be_fetched(
    event: dict[str, Any], fetches: bool, ignored: str | None
) -> None:
    assert received(event, fetches=fetches).ignored == ignored


@pytest.mark.parametrize(
    "event",
    [
        without(METER, "livemode", "context", "related_object"),
        METER | {"context": "acct_1"},
        METER | {"context": "org_1/acct_1"},
        METER | {"reason": {"type": "request", "request": {"id": "req_1", "idempotency_key": "k"}}},
        METER | {"snapshot_event": "evt_2", "changes": {"before": {}}, "something": [new := 1, {"else": new}]},
        METER | {"related_object": None},
        METER | {"related_object": {}},
        METER | {"related_object": METER["related_object"] | {"livemode": False}},  # type: ignore[operator]
    ],
)
def test_missing_and_additional_fields_do_no_harm(event: dict[str, Any]) -> None:
    assert received(event).ignored == "api_key_missing"


@pytest.mark.parametrize(
    ("created", "moment"),
    [
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T12:30:00+02:30", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-19T22:00:00-12:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00.123456Z", datetime(2026, 11, 20, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-20T10:00:00.123456789Z", datetime(2026, 11, 20, 10, 0, 0, 123_457, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_its_time_is_read_in_any_offset_and_precision(created: str, moment: datetime) -> None:
    assert received(METER | {"created": created}).event.occurred_at == moment


@pytest.mark.parametrize(
    "event",
    [
        *(
            METER | {"created": created}
            for created in (
                None, 1_763_561_586, "1763561586", "", "yesterday", "2026-11-20", "2026-11-20T10:00:00", "2026-02-30T10:00:00Z",
                "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "1969-12-31T23:59:59Z", ["2026-11-20T10:00:00Z"],
            )
        ),
        without(METER, "created"),
        without(METER, "id"),
        METER | {"id": ""},
        METER | {"id": "e" * 256},
        METER | {"id": 7},
        without(METER, "type"),
        METER | {"type": "t" * 256},
        METER | {"object": "v3.core.event"},
    ],
)  # fmt: skip
def test_an_invalid_thin_event_is_malformed(event: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refusal:
        received(event)
    assert refusal.value.reason is Reason.EVENT_MALFORMED


@pytest.mark.parametrize(
    "related", [[], "mtr_1", {"id": "m" * 256, "type": "billing.meter"}, {"id": "", "type": "billing.meter"}, {"id": 7}]
)
def test_an_object_that_it_cannot_name_is_none(related: Any) -> None:
    assert received(METER | {"related_object": related}).event.aggregate_id == METER["id"]


@pytest.mark.parametrize("context", ["", "a" * 256, ["acct_1"]])
def test_a_context_that_is_none_is_left_out(context: Any) -> None:
    assert received(METER | {"context": context}).event.account is None


def test_a_snapshot_event_is_handled_with_or_without_the_api() -> None:
    snapshot = {"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1, "data": {"object": {}}}
    assert received(snapshot).ignored is None
    assert received(snapshot | {"type": "review.opened"}, fetches=True).ignored == "type_not_handled"


def test_exactly_the_events_for_the_worker_can_be_sent_again() -> None:
    for fetches in (False, True):
        handles = stripe_source(fetches=fetches).handles
        assert (handles("invoice.paid"), handles("v1.invoice.paid"), handles("v1.billing.meter.created")) == (
            True,
            fetches,
            False,
        )


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())))
def test_any_other_content_is_malformed_and_never_a_crash(content: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refusal:
        received({**content, "object": "v2.core.event", "created": content.get("created", 1)})
    assert refusal.value.reason is Reason.EVENT_MALFORMED
