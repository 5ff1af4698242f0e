"""Parsing points in time on a command line, valid or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.moments import EPOCH, moment_of, time_of

NOW: Final = datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("0s", NOW),
        ("2026-11-24T09:00", NOW - timedelta(hours=1)),
        ("2026-11-24T11:30+02:00", NOW - timedelta(minutes=30)),
        ("0001-01-01", EPOCH),
        ("0001-01-01T00:00+23:59", None),
        ("99999d", EPOCH),
        ("999999999d", EPOCH),
        (" 2h ", NOW - timedelta(hours=2)),
        ("20261124", datetime(2026, 11, 24, tzinfo=UTC)),
        ("20261124T09", NOW - timedelta(hours=1)),
    ],
)
def test_a_time_or_how_long_ago_and_the_epoch_at_the_earliest(text: str, moment: datetime | None) -> None:
    if moment is None:
        with pytest.raises(ValueError, match="neither a time"):
            moment_of(text, NOW)
    else:
        assert moment_of(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["0", "2026", "1.5", "1795514400", " 1795514400", "1712051412345", "1712051412345.5", "17120514112"]
)
def test_a_number_without_a_unit_is_no_duration_and_unix_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is neither a time such as 2026-11-24T10:00 nor how long ago, such as 2h"):
        moment_of(text, NOW)
    with pytest.raises(ValueError, match=r"."):
        time_of(text)


@pytest.mark.parametrize(
    "text",
    ["2026-11-24\n10:00", "2026-11-24T10:00\0", "2026-11-24\u066310:00", "2026-11-24T10:00:00.123456_7", "2026-11-24_10:00"],
)
def test_a_character_that_no_time_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time has"):
        time_of(text)


typed = st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | st.from_regex(r"[0-9]{1,400}[smhd]?", fullmatch=True)


@given(st.text() | typed)
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        moment = moment_of(text, NOW)
    except ValueError:
        return
    assert moment >= EPOCH
    assert moment.tzinfo is UTC
