"""Ids are in the order of their creation, and contain the day of their partition."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ids import first_id_of, is_time_ordered, new_id, time_of

MILLISECOND: Final = timedelta(milliseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants them naive


@st.composite
def ids_at(draw: st.DrawFn) -> tuple[datetime, UUID]:
    """A moment, and any UUIDv7 that could be made in its millisecond."""
    moment = draw(MOMENTS)
    milliseconds = (moment - EPOCH) // MILLISECOND
    head, tail = draw(st.integers(0, 2**12 - 1)), draw(st.integers(0, 2**62 - 1))
    return moment, UUID(int=milliseconds << 80 | 7 << 76 | head << 64 | 2 << 62 | tail)


def test_ids_are_in_the_order_of_their_making() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len({*made}) == len(made)


def test_a_new_id_is_a_time_ordered_one_of_now() -> None:
    before = datetime.now(UTC) - MILLISECOND
    made = new_id()
    assert is_time_ordered(made)
    assert before <= time_of(made) <= datetime.now(UTC)


@pytest.mark.parametrize(
    "other",
    [UUID(int=0), UUID("6fa459ea-ee8a-3ca4-894e-db77e160355e"), UUID("16fd2706-8baf-433b-82eb-8c7fada847da")],
)
def test_an_id_of_another_kind_is_not_time_ordered(other: UUID) -> None:
    assert not is_time_ordered(other)


@given(ids_at())
def test_the_first_id_of_a_moment_is_not_above_any_id_of_its_millisecond(made: tuple[datetime, UUID]) -> None:
    moment, an_id = made
    assert first_id_of(moment) <= an_id < first_id_of(moment + MILLISECOND)


def test_nothing_is_before_the_first_id_of_the_epoch() -> None:
    for moment in (date(1969, 12, 31), datetime.min.replace(tzinfo=UTC), EPOCH):
        assert first_id_of(moment) == UUID(int=0)


@given(ids_at())
def test_an_id_is_between_the_bounds_of_its_day(made: tuple[datetime, UUID]) -> None:
    moment, an_id = made
    assert first_id_of(moment.date()) <= an_id < first_id_of(moment.date() + timedelta(days=1))


@given(ids_at())
def test_an_id_has_its_time_to_the_millisecond(made: tuple[datetime, UUID]) -> None:
    moment, an_id = made
    assert timedelta() <= moment - time_of(an_id) < MILLISECOND


@given(earlier=MOMENTS, later=MOMENTS)
def test_first_ids_are_in_the_order_of_their_moments(earlier: datetime, later: datetime) -> None:
    earlier, later = sorted((earlier, later))
    assert first_id_of(earlier) <= first_id_of(later)


def test_a_day_begins_at_midnight_utc() -> None:
    assert first_id_of(date(2026, 11, 24)) == first_id_of(datetime(2026, 11, 24, tzinfo=UTC))
    assert str(first_id_of(date(2026, 11, 24))) == "01a20ada-2c00-0000-0000-000000000000"
