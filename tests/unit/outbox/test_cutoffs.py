"""A cut-off moves by one day an hour at most, whatever a clock or a setting shows, and back at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from outbox.cutoffs import PACE, STEP, Cutoff, decide

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
AT: Final = datetime(2026, 10, 25, tzinfo=UTC)
LONG_AGO: Final = Cutoff(AT, NOW - timedelta(days=1))
spans = st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400))


def test_the_usual_day_passes() -> None:
    assert decide(AT + STEP, LONG_AGO, NOW) == AT + STEP


def test_more_than_a_day_goes_a_day_at_a_time() -> None:
    assert decide(AT + 40 * STEP, LONG_AGO, NOW) == AT + STEP


def test_after_a_step_nothing_moves_for_a_while() -> None:
    just_moved = Cutoff(AT, NOW - PACE / 2)
    assert decide(AT + 40 * STEP, just_moved, NOW) == AT
    assert decide(AT + 40 * STEP, just_moved, NOW + PACE / 2) == AT + STEP


def test_a_relay_that_has_read_the_time_before_another_one_moved_it_moves_nothing() -> None:
    assert decide(AT + 40 * STEP, Cutoff(AT, NOW + timedelta(milliseconds=5)), NOW) == AT


def test_a_step_that_was_made_by_a_clock_ahead_of_now_holds_nothing_up() -> None:
    assert decide(AT + STEP, Cutoff(AT, NOW + timedelta(days=40)), NOW) == AT + STEP


def test_an_operator_may_take_all_at_once() -> None:
    assert decide(AT + 40 * STEP, Cutoff(AT, NOW), NOW, all_due=True) == AT + 40 * STEP


def test_the_first_run_goes_to_where_it_should_be() -> None:
    assert decide(AT, None, NOW) == AT


@given(wanted=spans, moved=spans)
def test_no_run_deletes_more_than_a_step_or_beyond_what_is_due(wanted: timedelta, moved: timedelta) -> None:
    cutoff = decide(AT + wanted, Cutoff(AT, NOW + moved), NOW)
    assert cutoff <= max(AT + STEP, AT)
    assert cutoff <= AT + wanted or cutoff == AT
    if wanted <= timedelta():
        assert cutoff == AT + wanted
