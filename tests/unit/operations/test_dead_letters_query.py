"""The query of the dead letters from the parameters of a request."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.errors import GatewayError, Reason
from gateway.paging import cursor_of, place_cursor
from gateway.parameters import parse_query
from operations.dead_letters.query import DeadLettersQuery
from runtime.ids import new_id

AT = datetime(2026, 11, 24, 10, 30, 0, 123456, tzinfo=UTC)


def test_a_cursor_is_the_place_of_the_last_dead_letter() -> None:
    last = new_id()
    assert parse_query(DeadLettersQuery, [("cursor", cursor_of(last, AT))]).span()[1] == (AT, last)


@pytest.mark.parametrize(
    "cursor", [cursor_of(new_id()), place_cursor(AT, "pi_1", "stripe"), "AAAA", "AAAAAAAAAAA", "_" * 32], ids=range(5)
)
def test_the_cursor_of_another_list_is_refused_and_no_empty_page(cursor: str) -> None:
    with pytest.raises(GatewayError) as refusal:
        parse_query(DeadLettersQuery, [("cursor", cursor)]).span()
    assert refusal.value.reason is Reason.QUERY_MALFORMED
