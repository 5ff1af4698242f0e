"""The figures of the agents: counts, rates over whole seconds, times."""

from __future__ import annotations

import pytest

from streams.monitor import Tally, quantile


def test_a_chunk_is_in_hand_until_it_is_acknowledged() -> None:
    tally = Tally()
    tally.begin(3)
    tally.begin(2)
    tally.end(3, took=0.5, now=10.0)
    assert (tally.chunks, tally.events, tally.in_hand) == (1, 3, 2)


def test_rates_are_of_the_last_ten_whole_seconds() -> None:
    tally = Tally()
    for now, events in ((1.0, 500), (10.2, 30), (10.9, 50), (11.0, 20), (20.5, 1000)):
        tally.begin(events)
        tally.end(events, took=0.1, now=now)
    assert tally.rates(20.6) == (pytest.approx(0.3), pytest.approx(10.0))
    assert tally.rates(21.0) == (pytest.approx(0.2), pytest.approx(102.0))
    assert tally.rates(60.0) == (0, 0)


def test_times_are_those_that_a_share_of_the_chunks_stayed_within() -> None:
    tally = Tally()
    assert tally.took(0.5) is None
    for n in range(100):
        tally.end(1, took=(n + 1) / 100, now=float(n))
    assert (tally.took(0.5), tally.took(0.99)) == (0.51, 1.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.99, 3.0), (1.0, 3.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0], share) == value
