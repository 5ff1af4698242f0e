"""Day partitions are made ahead and dropped whole, but never with an event that is still due, and never block the intake."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg
import pytest

from outbox import partitions
from outbox.partitions import DAILY, DAYS_AHEAD, maintain, name
from runtime.ids import first_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

NOW: Final = datetime.now(UTC).replace(hour=12)  # some steps are hours long, and stay within the day
TODAY: Final = NOW.date()
DAY: Final = timedelta(days=1)
# The template database keeps two days.
OLDEST: Final = TODAY - 2 * DAY

INSERT: Final = {
    "outbox": """
        insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
        values (%s, 'alert.events', 'alert', 'a', '/test', 'alert.raised', 'urn:tallyhook:alert.raised:1', now(), '', '')
    """,
    "webhook_deliveries": "insert into webhook_deliveries (id, source, outcome, trace_id) values (%s, 'stripe', 'accepted', '')",
    "consumed": "insert into consumed (event_id, consumer) values (%s, 'payments')",
    "tasks": "insert into tasks (id, kind) values (%s, 'cache.invalidate')",
    "audit_log": """
        insert into audit_log (id, method, path, status, trace_id, duration_ms)
        values (%s, 'GET', '/internal/v1/config', 200, '', 1)
    """,
}


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as opened:
        yield opened


def id_on(day: date, number: int = 1) -> UUID:
    """An id of that day, a few milliseconds after midnight."""
    return UUID(int=first_id_of(day).int + (number << 80) + (7 << 76) + (2 << 62))


def days(first: date, last: date) -> list[date]:
    return [first + n * DAY for n in range((last - first).days + 1)]


def test_every_day_from_the_first_of_the_retention_to_a_week_ahead_is_there(connection: Connection) -> None:
    expected = {name(table, day) for table in DAILY for day in days(OLDEST, TODAY + DAYS_AHEAD * DAY)}
    assert set(partitions.partitions(connection)) == expected


def test_a_clock_that_was_never_set_makes_its_days_too(connection: Connection) -> None:
    unset = datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)
    made = maintain(connection, unset, 30 * DAY)
    assert {partition for partition in made.created if partition.startswith("outbox_")} == {
        name("outbox", day) for day in days(unset.date(), unset.date() + DAYS_AHEAD * DAY)
    }
    assert (made.detached, made.dropped) == ([], [])


def test_upkeep_has_nothing_to_do_twice_a_day(connection: Connection) -> None:
    assert maintain(connection, NOW, 2 * DAY) == ([], [], [], [], [], 0)


def test_the_next_day_is_made_and_the_oldest_taken_out_of_use(connection: Connection) -> None:
    done = maintain(connection, NOW + DAY, 2 * DAY)
    assert set(done.created) == {name(table, TODAY + (DAYS_AHEAD + 1) * DAY) for table in DAILY}
    assert set(done.detached) == {name(table, OLDEST) for table in DAILY}
    assert (done.dropped, done.deferred, done.behind) == ([], [], 0)
    assert not set(done.detached) & set(partitions.partitions(connection))


def test_a_longer_retention_makes_the_days_that_it_adds(connection: Connection) -> None:
    done = maintain(connection, NOW, 4 * DAY)
    assert set(done.created) == {name(table, day) for table in DAILY for day in days(TODAY - 4 * DAY, OLDEST - DAY)}


def test_every_index_of_a_daily_table_covers_all_of_its_days(connection: Connection) -> None:
    rows = connection.execute(
        """select bool_and(i.indisvalid), count(day.inhrelid) from pg_index i join pg_partitioned_table on partrelid = i.indrelid
           left join pg_inherits day on day.inhparent = i.indexrelid group by i.indexrelid"""
    ).fetchall()
    assert set(rows) == {(True, len(days(OLDEST, TODAY + DAYS_AHEAD * DAY)))}


def test_there_is_no_default_partition(connection: Connection) -> None:
    rows = connection.execute("select partrelid::regclass::text, partdefid from pg_partitioned_table order by 1").fetchall()
    assert rows == [(table, 0) for table in sorted(DAILY)]


@pytest.mark.parametrize("table", DAILY)
@pytest.mark.parametrize("day", [OLDEST, TODAY, TODAY + DAYS_AHEAD * DAY], ids=["oldest", "today", "ahead"])
def test_a_row_goes_to_the_partition_of_the_day_of_its_id(connection: Connection, table: str, day: date) -> None:
    key = "event_id" if table == "consumed" else "id"
    for edge in (first_id_of(day), UUID(int=first_id_of(day + DAY).int - 1)):
        connection.execute(INSERT[table], (edge,))
        row = connection.execute(f"select tableoid::regclass::text from {table} where {key} = %s", (edge,)).fetchone()
        assert row == (name(table, day),)


def tables(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("select relname from pg_class where relkind = 'r' and relname ~ '_20[0-9]{6}$'")}


def test_a_day_out_of_use_is_dropped_after_the_grace_and_not_before(connection: Connection) -> None:
    away = {name(table, OLDEST) for table in DAILY}
    maintain(connection, NOW + DAY, 2 * DAY)
    assert {each.partition for each in partitions.detached(connection)} == away
    assert maintain(connection, NOW + 1.9 * DAY, 2 * DAY).dropped == []
    assert maintain(connection, NOW + 2 * DAY, 2 * DAY, grace=2 * DAY).dropped == []
    assert {f"detached_{each}" for each in away} <= tables(connection)
    assert set(maintain(connection, NOW + 2 * DAY, 2 * DAY).dropped) == away
    assert not {f"detached_{each}" for each in away} & tables(connection)


@pytest.mark.parametrize("table", DAILY)
def test_a_day_comes_back_with_its_rows_when_the_retention_holds_it_again(connection: Connection, table: str) -> None:
    connection.execute(INSERT[table], (id_on(OLDEST),))
    maintain(connection, NOW + DAY, 2 * DAY)
    assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)
    done = maintain(connection, NOW + DAY, 3 * DAY)
    assert set(done.restored) == {name(each, OLDEST) for each in DAILY}
    assert partitions.detached(connection) == []
    assert connection.execute(f"select count(*) from {table}").fetchone() == (1,)
    connection.execute(INSERT[table], (id_on(OLDEST, 2),))
    invalid = "select count(*) from pg_index where not indisvalid"
    assert connection.execute(invalid).fetchone() == (0,)


def test_a_day_that_cannot_come_back_costs_only_itself(connection: Connection) -> None:
    maintain(connection, NOW + DAY, 2 * DAY)
    lost = f"detached_{name('outbox', OLDEST)}"
    connection.execute(f"drop table {lost}")  # as an operator does by hand on a full disk
    with pytest.raises(psycopg.errors.UndefinedTable):
        maintain(connection, NOW + 3 * DAY, 5 * DAY)
    coming = days(TODAY, TODAY + (3 + DAYS_AHEAD) * DAY)
    there = {name(table, day) for table in DAILY for day in coming}
    there |= {name(table, OLDEST) for table in DAILY if table != "outbox"}
    assert there <= tables(connection)


def test_a_clock_that_jumps_ahead_takes_one_day_out_of_use_an_hour_and_it_comes_back(connection: Connection) -> None:
    """The server's own clock, which all code uses, is forty days ahead for some hours."""
    for table in DAILY:
        connection.execute(INSERT[table], (id_on(OLDEST),))
    wrong = NOW + 40 * DAY
    hours = [maintain(connection, wrong + timedelta(minutes=20 * n), 2 * DAY) for n in range(7)]
    assert [len(each.detached) // len(DAILY) for each in hours] == [1, 0, 0, 1, 0, 0, 1]
    assert [each.behind for each in hours] == [39, 39, 39, 38, 38, 38, 37]
    assert [each.dropped for each in hours] == [[]] * 7
    done = maintain(connection, NOW, 2 * DAY)
    assert set(done.restored) == {name(table, OLDEST + n * DAY) for table in DAILY for n in range(3)}
    for table in DAILY:
        assert connection.execute(f"select count(*) from {table}").fetchone() == (1,)
    assert maintain(connection, NOW + timedelta(hours=1), 2 * DAY) == ([], [], [], [], [], 0)


def test_a_relay_that_was_off_for_days_catches_up_a_day_an_hour_and_an_operator_at_once(connection: Connection) -> None:
    back = NOW + 5 * DAY
    days_gone = [len(maintain(connection, back + timedelta(hours=n), 2 * DAY).detached) // len(DAILY) for n in range(3)]
    assert days_gone == [1, 1, 1]
    done = maintain(connection, back + timedelta(hours=2, minutes=1), 2 * DAY, all_due=True)
    assert set(done.detached) == {name(table, OLDEST + n * DAY) for table in DAILY for n in (3, 4)}
    assert done.behind == 0


def test_a_database_without_a_cut_off_goes_on_from_its_oldest_day(connection: Connection) -> None:
    """Such a database is of an older release, or was restored without the table."""
    connection.execute("delete from retention_cutoffs")
    done = maintain(connection, NOW + 10 * DAY, 2 * DAY)
    assert set(done.detached) == {name(table, OLDEST) for table in DAILY}
    assert done.behind == 9


@pytest.mark.parametrize("table", DAILY)
@pytest.mark.parametrize("day", [OLDEST - DAY, TODAY + (DAYS_AHEAD + 1) * DAY], ids=["dropped", "not yet made"])
def test_an_id_of_a_day_without_partition_is_refused(connection: Connection, table: str, day: date) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition") as refused:
        connection.execute(INSERT[table], (id_on(day),))
    assert refused.value.diag.constraint_name is None


@pytest.mark.parametrize("table", DAILY)
def test_an_id_of_a_day_that_was_dropped_is_refused(connection: Connection, table: str) -> None:
    connection.execute(INSERT[table], (id_on(OLDEST),))
    maintain(connection, NOW + DAY, 2 * DAY)
    with pytest.raises(psycopg.errors.CheckViolation, match="no partition"):
        connection.execute(INSERT[table], (id_on(OLDEST, 2),))


@pytest.mark.parametrize("parked", [False, True], ids=["pending", "parked"])
def test_a_day_with_events_that_kafka_does_not_have_is_kept_until_it_has(connection: Connection, *, parked: bool) -> None:
    connection.execute(INSERT["outbox"], (id_on(OLDEST),))
    connection.execute("insert into outbox_pending (event_id, shard) values (%s, 0)", (id_on(OLDEST),))
    if parked:
        connection.execute("update outbox_pending set parked_at = now(), reason = 'record_too_large'")
    done = maintain(connection, NOW + DAY, 2 * DAY)
    needed = {name(table, OLDEST) for table in DAILY if table != "audit_log"}
    assert set(done.deferred) == needed  # an event that is sent later needs its mark and its task
    assert done.detached == [name("audit_log", OLDEST)]
    connection.execute("delete from outbox_pending")
    assert set(maintain(connection, NOW + DAY, 2 * DAY).detached) == needed


def test_a_day_in_which_an_event_becomes_pending_while_the_upkeep_waits_is_kept(
    connection: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.execute("select from outbox")  # the lock of a transaction that has an event sent again

    def pause(_: float) -> None:
        other.execute("insert into outbox_pending (event_id, shard) values (%s, 0)", (id_on(OLDEST),))
        other.commit()

    monkeypatch.setattr(partitions, "sleep", pause)
    assert name("outbox", OLDEST) in maintain(connection, NOW + DAY, 2 * DAY).deferred
    assert name("outbox", OLDEST) in tables(connection)


def test_intake_does_not_wait_for_a_long_look_at_the_pending_events(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "select pg_sleep(1)::text <> '' and %s::uuid is not null and %s::uuid is not null"
    monkeypatch.setattr(partitions, "_PENDING", slow)
    done = maintain(connection, NOW + DAY, 2 * DAY)
    needed = {name(table, OLDEST) for table in DAILY if table != "audit_log"}
    assert (set(done.deferred), done.detached) == (needed, [name("audit_log", OLDEST)])
    monkeypatch.undo()
    assert set(maintain(connection, NOW + DAY, 2 * DAY).detached) == needed


def test_pending_events_of_the_next_day_do_not_keep_the_one_before(connection: Connection) -> None:
    connection.execute("insert into outbox_pending (event_id, shard) values (%s, 0)", (first_id_of(OLDEST + DAY),))
    assert maintain(connection, NOW + DAY, 2 * DAY).deferred == []


@pytest.mark.parametrize("read", ["select from only {0}_{1}", "select from {0}"], ids=["its partition", "the whole table"])
def test_a_day_that_someone_reads_is_deferred_and_intake_goes_on(
    connection: Connection, other: Connection, database_url: str, read: str
) -> None:
    """The reader ends last, so a lock that waited for it would block both: Postgres cancels a statement that takes long."""
    other.execute(read.format("outbox", f"{OLDEST:%Y%m%d}"))
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database_url, autocommit=True) as intake:
        for each in (connection, intake):
            each.execute("set statement_timeout = '20s'")
        upkeep = threads.submit(maintain, connection, NOW + DAY, 2 * DAY)
        _insert_until(upkeep.done, intake)
        done = upkeep.result()
    assert done.deferred == [name("outbox", OLDEST)]
    assert set(done.detached) == {name(table, OLDEST) for table in DAILY if table != "outbox"}
    other.rollback()
    assert maintain(connection, NOW + DAY, 2 * DAY).detached == [name("outbox", OLDEST)]


def test_a_day_is_tried_again_in_the_same_run_once_its_reader_is_done(
    connection: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.execute("select from outbox")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        """The reader ends only while no session waits for it."""
        pauses.append(seconds)
        other.rollback()

    monkeypatch.setattr(partitions, "sleep", pause)
    done = maintain(connection, NOW + DAY, 2 * DAY)
    assert set(done.detached) == {name(table, OLDEST) for table in DAILY}
    assert (done.deferred, len(pauses)) == ([], 1)


def _insert_until(done: Callable[[], bool], intake: Connection) -> None:
    """Insert again and again, and once at least."""
    number = 0
    while number == 0 or not done():
        number += 1
        intake.execute(INSERT["outbox"], (id_on(TODAY, number),))


def test_two_upkeeps_at_once_share_the_work(connection: Connection, database_url: str) -> None:
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database_url, autocommit=True) as second:
        elsewhere = threads.submit(maintain, second, NOW + DAY, 2 * DAY)
        here = maintain(connection, NOW + DAY, 2 * DAY)
        there = elsewhere.result()
    assert len(here.created) + len(there.created) == len(here.detached) + len(there.detached) == len(DAILY)
