"""The query of the delivery log from the parameters of a request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, Reason
from gateway.paging import LIMIT_DEFAULT, cursor_of, id_of, place_cursor
from gateway.parameters import parse_query
from operations.deliveries.query import DeliveriesQuery
from runtime.ids import first_id_of, new_id

NOW = datetime.now(UTC)


def span_of(parameters: dict[str, str], now: datetime = NOW) -> tuple[UUID, UUID]:
    return parse_query(DeliveriesQuery, parameters.items()).span(now)


def test_without_filters_it_is_everything_up_to_now() -> None:
    first, before = span_of({}, datetime.now(UTC))  # NOW may be minutes old in a long run
    assert parse_query(DeliveriesQuery, ()).limit == LIMIT_DEFAULT
    assert first == UUID(int=0)
    assert before > new_id()


def test_a_span_of_time_is_a_span_of_ids() -> None:
    first, before = span_of({"from": "2026-11-24T10:00:00Z", "to": "2026-11-24T12:00:00+01:00"})
    assert first == first_id_of(datetime(2026, 11, 24, 10, tzinfo=UTC))
    assert before == first_id_of(datetime(2026, 11, 24, 11, tzinfo=UTC))


@given(st.uuids())
def test_a_cursor_leads_to_older_rows(last: UUID) -> None:
    assert span_of({"cursor": cursor_of(last), "to": "9999-12-31T00:00:00Z"})[1] <= last


def test_a_trace_that_began_here_is_looked_for_at_its_own_time() -> None:
    first = new_id()
    begin, before = span_of({"trace": first.hex}, NOW + timedelta(days=3))
    assert begin <= first < before
    assert before < first_id_of(NOW + timedelta(hours=1))


def test_a_trace_of_someone_else_is_looked_for_in_the_last_day() -> None:
    assert span_of({"trace": "f" * 32})[0] == first_id_of(NOW - timedelta(days=1))


@pytest.mark.parametrize(
    "given_parameters",
    [
        {"colour": "red"},
        {"outcome": "lost"},
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"trace": "0AF7651916CD43DD8448EB211C80319C"},
        {"trace": "é" * 32},
        {"cursor": "?"},
        {"cursor": "AAAA"},
        {"cursor": cursor_of(new_id(), NOW)},  # of a list of dead letters
        {"cursor": place_cursor(NOW, "pi_1", "stripe")},  # of a list of payments
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "٣"},
        {"limit": "9" * 5000},
        {"limit": " 5"},
        {"limit": "5.5"},
        {"limit": "1e400"},
        {"limit": "true"},
    ],
)
def test_a_nonsensical_request_is_refused(given_parameters: dict[str, str]) -> None:
    with pytest.raises(GatewayError) as refusal:
        span_of(given_parameters)
    assert refusal.value.reason is Reason.QUERY_MALFORMED


@pytest.mark.parametrize("text", ["", "evt_1", "0af7651916cd43dd8448eb211c80319c", "6f1c1f8e-3f5a-4c58-9a36-6f7f5a1e2b11"])
def test_an_id_that_is_not_ours_is_not_found(text: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        id_of(text, "delivery")
    assert refusal.value.reason is Reason.NOT_FOUND
