"""A partition's name tells its day."""

from __future__ import annotations

from datetime import date

import pytest

from outbox import partitions
from outbox.tables import DAILY


@pytest.mark.parametrize("table", [table.name for table in DAILY])
def test_the_day_is_read_back_from_the_name(table: str) -> None:
    assert partitions.day_of(partitions.name(table, date(2026, 2, 3))) == date(2026, 2, 3)


def test_a_name_ends_with_its_day() -> None:
    assert partitions.name("outbox", date(2026, 2, 3)) == "outbox_20260203"
