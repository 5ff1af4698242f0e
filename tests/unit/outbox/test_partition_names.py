"""A partition's name contains its day."""

from __future__ import annotations

from datetime import date

import pytest

from outbox import partitions
from outbox.tables import metadata


@pytest.mark.parametrize("table", partitions.DAILY)
def test_the_day_is_read_back_from_the_name(table: str) -> None:
    assert partitions.day_of(partitions.name(table, date(2026, 2, 3))) == date(2026, 2, 3)


def test_a_name_ends_with_its_day() -> None:
    assert partitions.name("outbox", date(2026, 2, 3)) == "outbox_20260203"


def test_the_daily_tables_are_those_that_are_declared_with_partitions() -> None:
    declared = {table.name for table in metadata.tables.values() if table.dialect_options["postgresql"]["partition_by"]}
    assert declared == {*partitions.DAILY}
