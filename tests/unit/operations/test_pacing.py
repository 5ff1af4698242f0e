"""A rate holds over any span of time, however the batches are timed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operations.webhook_replay.loop import Pace


def test_the_first_may_go_at_once_and_the_next_when_its_time_has_come() -> None:
    pace = Pace(2.0, 50, now=10.0)
    assert pace.room(10.0) == 1
    pace.spend(1)
    assert [pace.room(10.4), pace.room(10.5)] == [0, 1]


def test_a_rate_below_one_a_second_still_gets_its_turn() -> None:
    pace = Pace(0.1, 50, now=0.0)
    pace.spend(pace.room(0.0))
    assert [pace.room(9.9), pace.room(10.1)] == [0, 1]


def test_unused_rate_is_not_saved_beyond_one_batch() -> None:
    pace = Pace(100.0, 50, now=0.0)
    assert pace.room(3600.0) == 50


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 100),
    pauses=st.lists(st.floats(0, 5), max_size=50),
    greed=st.integers(1, 200),
)
def test_never_more_go_than_the_rate_and_one_burst_allow(rate: float, burst: int, pauses: list[float], greed: int) -> None:
    now, went = 0.0, 0
    pace = Pace(rate, burst, now)
    for pause in pauses:
        now += pause
        number = min(greed, pace.room(now))
        pace.spend(number)
        went += number
    assert went <= now * rate + max(1.0, min(burst, rate)) + 1e-6
