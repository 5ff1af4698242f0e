"""The difference of two clocks, measured although an answer takes time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from prometheus_client import REGISTRY

from outbox.clock import ServerClock, reading
from outbox.errors import ClockSkewed

NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("server", "skew"),
    [
        (NOON, 0),
        (NOON + SECOND, 0),
        (NOON + 2 * SECOND, 0),
        (NOON - SECOND, 1),
        (NOON + 3 * SECOND, -1),
        (NOON + 62 * SECOND, -60),
    ],
)
def test_only_a_difference_beyond_the_travel_time_of_the_answer_is_skew(server: datetime, skew: int) -> None:
    found = reading(NOON, server, NOON + 2 * SECOND)
    assert found.skew == skew * SECOND
    assert REGISTRY.get_sample_value("tallyhook_clock_skew_seconds") == skew
    assert not found.skewed
    found.check()


@pytest.mark.parametrize(("days", "where"), [(40, "ahead of"), (-40, "behind")])
def test_more_than_a_minute_is_refused_with_how_much_it_is(days: int, where: str) -> None:
    found = reading(NOON, NOON - timedelta(days=days), NOON)
    assert found.skewed
    with pytest.raises(ClockSkewed, match=f"3456000 s {where} Postgres"):
        found.check()


def test_the_server_clock_advances_between_readings_whatever_the_machine_clock_shows() -> None:
    clock = ServerClock()
    clock.set(NOON, time.monotonic() - 5)
    assert NOON + 5 * SECOND <= clock.now() < NOON + 60 * SECOND
