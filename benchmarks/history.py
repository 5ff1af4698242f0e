"""
Thirty days of history, written by Postgres itself: all rows of the payments, and the rows that only some payments have.

A payment has one event in the log, one mark, one delivery and one row in each table of the payments worker. Ids are UUIDv7 of
their day, the provider's ids begin with the second like real ones, and users come back at any time. The contents of an event are
shortened, so that 30 million of them fit on a usual disk: neither intake nor a list reads them.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from psycopg import Connection, sql
from psycopg.client_cursor import ClientCursor

from benchmarks.bodies import STRIPE_IDS
from benchmarks.figures import Void, expect
from schemas.stripe import DATASCHEMA

if TYPE_CHECKING:
    from benchmarks.system import Report, System

DAYS: Final = 30
ONE_ROW_PER_PAYMENT: Final = ("outbox", "consumed", "dedup", "history", "payments", "reconciliations")
"""The tables that have one row for each payment of the history, and no other rows."""
# These tables are filled without indexes, which are built at the end: random keys are slow in an index larger than memory.
_INDEXED_LATER: Final = ("dedup", "history", "payments", "reconciliations", "notifications", "webhook_replay_items")
_DAY: Final = Path(__file__).with_name("history_day.sql")
_BYTES_PER_PAYMENT: Final = 2600
"""Bytes on disk for all rows of a payment, with a reserve for the write-ahead log and for sorting."""
_PAYMENTS_PER_USER: Final = 30
_ACCOUNT: Final = "HistoryOf1"
"""An account's part of the provider's ids; new payments of the simulator have another one."""
_WRITERS: Final = 2
"""Days that are written at the same time: one connection is limited by the processor time of its server process."""
_FAST: Final = "set synchronous_commit = off; set wal_compression = off; set maintenance_work_mem = '1GB'"  # of a session
_ID_AT: Final = """
create function pg_temp.id_at(at timestamptz, name text) returns uuid language sql immutable as $$
  select overlay(overlay(md5(name) placing lpad(to_hex((extract(epoch from at) * 1000)::int8), 12, '0') || '7' from 1)
    placing '8' from 17)::uuid $$
"""


class Written(NamedTuple):
    """The size of a history, and the time to write it."""

    payments: int
    bytes: int
    seconds: float


class _Index(NamedTuple):
    table: str
    name: str
    constraint: str | None
    """The definition of the constraint to which the index belongs, if any."""
    definition: str


def write(ours: System, payments: int, report: Report) -> Written:
    """Fill the days before today. Raises Void if the disk has no room for them, or if rows are missing."""
    _expect_room(ours, payments)
    started = time.monotonic()
    with ours.connect() as connection:
        connection.execute(_FAST)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # the day may end during the writing
        indexes = _indexes(connection)
        _drop(connection, indexes)
        with ThreadPoolExecutor(_WRITERS) as writers:
            days = [writers.submit(_write_day, ours, today, day, payments) for day in range(DAYS)]
            for number, day in enumerate(as_completed(days), 1):
                day.result()
                report("history", f"{number} of {DAYS} days, {payments // DAYS:,} payments each, {_elapsed(started)}")
        for index in indexes:
            report("history", f"building {index.name}, {_elapsed(started)}")
            _build(connection, index)
        report("history", f"vacuum, {_elapsed(started)}")
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    for table in ONE_ROW_PER_PAYMENT:
        expect(f"rows of history in {table}", ours.count(table), payments)
    ours.sweep()
    return Written(payments, int(row[0]) if row else 0, time.monotonic() - started)


def _write_day(ours: System, today: datetime, day: int, payments: int) -> None:
    first, after = (payments * number // DAYS for number in (day, day + 1))
    values = {
        "begin": today + timedelta(days=day - DAYS),
        "first": first,
        "number": after - first,
        "users": max(1, payments // _PAYMENTS_PER_USER),
        "account": _ACCOUNT,
        "dataschema": DATASCHEMA,
    }
    if after > first:
        with ours.connect() as connection:
            connection.execute(_FAST)
            connection.execute(_ID_AT)
            connection.execute(STRIPE_IDS.encode())
            with connection.transaction(), ClientCursor(connection) as cursor:
                cursor.execute(_DAY.read_bytes(), values)


def _expect_room(ours: System, payments: int) -> None:
    needed, free = payments * _BYTES_PER_PAYMENT, shutil.disk_usage(ours.stack.data_dir).free
    if needed > free:
        raise Void(f"{payments:,} payments need {needed / 1e9:.0f} GB of disk, and {free / 1e9:.0f} are free: use --share")


def _indexes(connection: Connection) -> list[_Index]:
    rows = connection.execute(
        """select i.indrelid::regclass::text, i.indexrelid::regclass::text, pg_get_constraintdef(c.oid),
             pg_get_indexdef(i.indexrelid)
           from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
           where i.indrelid = any(%s::text[]::regclass[]) order by 1, 2""",
        ([*_INDEXED_LATER],),
    ).fetchall()
    return [_Index(*row) for row in rows]


def _drop(connection: Connection, indexes: list[_Index]) -> None:
    for index in indexes:
        table, name = sql.Identifier(index.table), sql.Identifier(index.name)
        if index.constraint:
            connection.execute(sql.SQL("alter table {} drop constraint {}").format(table, name))
        else:
            connection.execute(sql.SQL("drop index {}").format(name))


def _build(connection: Connection, index: _Index) -> None:
    if index.constraint:
        connection.execute(f"alter table {index.table} add constraint {index.name} {index.constraint}".encode())
    else:
        connection.execute(index.definition.encode())


def _elapsed(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s so far"
