"""The search for lost records ends, whatever arrives meanwhile, and reads what a clock that was ahead has written."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from operations.lost_records.store import next_piece
from runtime.ids import first_id_of, id_at, time_of

FOUND: Final = datetime(2026, 11, 24, 16, tzinfo=UTC)
NOW: Final = FOUND + timedelta(hours=20)
FIRST, END, AHEAD = first_id_of(FOUND - timedelta(days=2)), first_id_of(FOUND), first_id_of(NOW)


def searched(newest: UUID | None) -> list[tuple[UUID, UUID]]:
    """Return the spans that one search reads if no piece has too many events."""
    spans, cursor, until = list[tuple[UUID, UUID]](), FIRST, None
    while until is None or cursor < until:
        after, cursor, until = next_piece(cursor, END, AHEAD, newest)
        spans.append((after, cursor))
    return spans


def test_what_came_after_the_loss_is_not_searched() -> None:
    spans = searched(None)
    assert [spans[0][0], spans[-1][1]] == [FIRST, END]
    assert [end for _, end in spans[:-1]] == [begin for begin, _ in spans[1:]]
    assert len(spans) == 8


@pytest.mark.parametrize("days", [0, 2])
def test_ids_that_only_a_clock_ahead_can_have_made_are_searched_at_the_end(days: int) -> None:
    newest = id_at(NOW + timedelta(days=days, seconds=1))
    spans = searched(newest)
    assert any(after < newest < before for after, before in spans)
    since = FOUND + timedelta(hours=1)
    assert not any(time_of(after) < since < time_of(before) for after, before in spans)


def test_a_search_ends_when_the_time_of_its_place_has_come() -> None:
    after, before, until = next_piece(id_at(NOW - timedelta(hours=1)), END, AHEAD, None)
    assert after >= before >= until
