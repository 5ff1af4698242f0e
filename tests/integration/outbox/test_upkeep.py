"""Upkeep uses Postgres' clock, stops with a report if its own differs, and makes a missing day partition within seconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from outbox import partitions, upkeep
from outbox.clock import ServerClock
from outbox.errors import ClockSkewed
from outbox.partitions import DAILY, DAYS_AHEAD, name
from outbox.settings import RetentionSettings
from outbox.upkeep import keep_partitions, keeping_days
from runtime.database import make_pool
from runtime.ids import id_at, time_of
from runtime.service import running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY: Final = timedelta(days=1)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def settings(database_url: str) -> RetentionSettings:
    return RetentionSettings.load({"DATABASE_URL": database_url, "RETENTION_DAYS": "2"})


def ahead() -> datetime:
    return datetime.now(UTC) + 40 * DAY


def behind() -> datetime:
    return datetime.now(UTC) - 40 * DAY


def drop(connection: psycopg.Connection, day: date) -> None:
    for table in DAILY:
        connection.execute(f"drop table {name(table, day)}")


@pytest.mark.parametrize("own", [ahead, behind])
def test_with_a_wrong_clock_nothing_goes_and_the_days_are_still_made(
    connection: psycopg.Connection, settings: RetentionSettings, own: upkeep.OwnClock
) -> None:
    today = datetime.now(UTC).date()
    before = set(partitions.partitions(connection))
    drop(connection, today + DAYS_AHEAD * DAY)
    forgotten: list[object] = []
    with pytest.raises(ClockSkewed):
        keep_partitions(settings, lambda *given: forgotten.append(given), own=own)
    assert set(partitions.partitions(connection)) == before
    assert forgotten == []
    assert partitions.detached(connection) == []


def test_all_other_deletions_use_the_clock_of_the_server(connection: psycopg.Connection, settings: RetentionSettings) -> None:
    given: list[datetime] = []
    keep_partitions(settings, lambda _, due: given.append(due.now), own=lambda: datetime.now(UTC) + timedelta(seconds=50))
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row
    assert timedelta() <= row[0] - given[0] < timedelta(seconds=30)


def test_a_relay_with_a_wrong_clock_raises_one_alert_that_goes_out(
    connection: psycopg.Connection, settings: RetentionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert's id must be of today by Postgres' clock: an id of the wrong clock would have no partition."""
    monkeypatch.setattr("outbox.append.new_id", lambda: id_at(ahead()))
    asyncio.run(upkeep.keep_days(settings, [], ahead))
    asyncio.run(upkeep.keep_days(settings, [], ahead))
    [(event_id, data)] = connection.execute("select id, data from outbox where topic = 'alert.events'").fetchall()
    assert abs(time_of(event_id) - datetime.now(UTC)) < timedelta(minutes=1)
    assert b"clock_skewed" in data
    assert b"3456000 s ahead of" in data


async def test_a_day_that_is_missing_is_made_within_seconds_and_a_run_that_failed_comes_again(
    connection: psycopg.Connection, settings: RetentionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_LOOK_EVERY", 0.02)
    today = datetime.now(UTC).date()
    runs: list[int] = []

    def forget(*_: object, **__: object) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise psycopg.OperationalError("away")

    async with running(keeping_days(settings, [forget])):
        await until(lambda: len(runs) == 2)
        drop(connection, today)
        await until(lambda: {partitions.name(table, today) for table in partitions.DAILY} <= {*partitions.partitions(connection)})


def test_a_lag_of_days_is_an_alert(connection: psycopg.Connection, settings: RetentionSettings) -> None:
    connection.execute("update retention_cutoffs set cutoff = cutoff - interval '5 days', moved_at = '2020-01-01'")
    asyncio.run(upkeep.keep_days(settings, []))
    [(data,)] = connection.execute("select data from outbox where topic = 'alert.events'").fetchall()
    assert b"retention_behind" in data
    assert b"4 days of records" in data


async def test_a_worker_goes_by_the_clock_of_the_server(database_url: str, connection: psycopg.Connection) -> None:
    pool, clock = make_pool(database_url, size=1, name="test"), ServerClock()
    async with running(pool, clock.reading(pool)):
        await until(lambda: clock.known)
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row
        assert abs(clock.now() - row[0]) < timedelta(seconds=10)
