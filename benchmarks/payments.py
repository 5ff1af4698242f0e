"""
Events a second of one payments worker with all its effects, beside a bare loop that writes the same rows.

The loop reads the rows that the worker wrote, and writes them again in batches of 200 on one connection, with values that are
prepared before the clock starts. So it does the worker's writes without reading from Kafka, decoding, folding or deciding.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import Connection, sql

from benchmarks.figures import Aim, Figure, Result, Void, expect, median, peak_memory, ratio
from benchmarks.other_process import in_other_process
from benchmarks.preload import preload
from benchmarks.system import Running, System, system

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from benchmarks.figures import Scale
    from benchmarks.system import Report

BATCH: Final = 200  # events


class _Source(NamedTuple):
    """A table, the order in which its rows are written, and the rows that one event makes."""

    table: str
    order: str
    an_event: int = 1


_SOURCES: Final = (
    _Source("consumed", "event_id"),
    _Source("history", "event_id"),
    _Source("payments", "id"),
    _Source("reconciliations", "reference"),
    _Source("outbox", "id", 2),
    _Source("outbox_pending", "id", 2),
)


class Rows(NamedTuple):
    """All rows of one table, as a statement with the parameters of each batch."""

    table: str
    count: int
    statement: sql.Composed
    batches: list[list[list[Any]]]


def read_back(url: str) -> list[Rows]:
    """Read all rows that the worker wrote, batch by batch."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [_rows(connection, source) for source in _SOURCES]


def write_again(url: str) -> float:
    """Write the rows of the database again into its emptied tables; returns events a second."""
    rows = read_back(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"truncate {', '.join(each.table for each in rows)}")
        connection.execute("checkpoint")
        events, started = rows[0].count, time.monotonic()
        for parameters in zip(*(each.batches for each in rows), strict=True):
            with connection.transaction():
                for each, columns in zip(rows, parameters, strict=True):
                    connection.execute(each.statement, columns, prepare=True)
        seconds = time.monotonic() - started
        for each in rows:
            found = connection.execute(f"select count(*) from {each.table}").fetchone()
            expect(f"rows that the bare loop wrote into {each.table}", found[0] if found else 0, each.count)
    return events / seconds


def _rows(connection: Connection, source: _Source) -> Rows:
    columns = connection.execute(
        """select attname, format_type(atttypid, atttypmod) from pg_attribute
           where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum""",
        (source.table,),
    ).fetchall()
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
    arrays = sql.SQL(", ").join(sql.SQL("%b::" + kind + "[]") for _, kind in columns)  # type: ignore[arg-type]  # of the catalogue
    table = sql.Identifier(source.table)
    read = sql.SQL("select {} from {} order by {}").format(names, table, sql.Identifier(source.order))
    found = connection.cursor(binary=True).execute(read).fetchall()
    statement = sql.SQL("insert into {} ({}) select * from unnest({})").format(table, names, arrays)
    return Rows(source.table, len(found), statement, _in_batches(found, BATCH * source.an_event))


def _in_batches(rows: Sequence[tuple[Any, ...]], size: int) -> list[list[list[Any]]]:
    starts = range(0, len(rows), size)
    return [[list(column) for column in zip(*rows[start : start + size], strict=True)] for start in starts]


EVENTS: Final = 50_000
WORKER: Final = "worker-payments"
_OUTBOX_ROWS: Final = 2  # for each event: `billing.payment.succeeded` and the command that notifies the user
_LOOK_EVERY: Final = 0.01  # seconds
_LIMIT: Final = 300.0  # seconds for one round
_OFFSETS_KEPT: Final = 3.0  # seconds until the worker has committed its offsets, so that the next round begins after them


class Worked(NamedTuple):
    """One round of the worker."""

    rate: float
    memory: float


def run(scale: Scale, report: Report) -> Result:
    events = scale.count(EVENTS)
    worked: list[Worked] = []
    bare: list[float] = []
    with system("postgres", "kafka", report=report) as ours:
        for number in range(1, scale.rounds + 1):
            report("payments", f"round {number} of {scale.rounds}: worker, {events:,} events")
            worked.append(_work(ours, events))
            report("payments", f"round {number} of {scale.rounds}: the same rows by a bare loop")
            with in_other_process(write_again, ours.database_url) as rate_within:
                bare.append(rate_within(_LIMIT))
    rates = [each.rate for each in worked]
    figures = [
        median("handled", rates, "events/s", Aim(at_least=5000)),
        ratio("handled ÷ bare loop", rates, bare),
        median("bare loop of psycopg, the same rows", bare, "events/s"),
        Figure("peak memory of the worker", max(each.memory for each in worked), "MiB", aim=Aim(at_most=300)),
    ]
    return Result("payments", figures, [f"bare loop: one connection, {BATCH} events a transaction; the relay does not run"])


def _work(ours: System, events: int) -> Worked:
    """Write a backlog of webhooks, and then start a worker that handles it."""
    ours.empty()
    with in_other_process(preload, ours.bootstrap, events) as acknowledged_within:
        expect("webhooks on Kafka", acknowledged_within(_LIMIT), events)
    with ours.connect() as connection:
        start = last_id(connection)
    with ours.running(WORKER) as [worker]:
        seconds, counted = until_done(ours, worker, start, events)
        memory = peak_memory(worker.pid)
        time.sleep(_OFFSETS_KEPT)
    for table, rows in (("consumed", 1), ("history", 1), ("payments", 1), ("reconciliations", 1), ("outbox", _OUTBOX_ROWS)):
        expect(f"rows of {table}", ours.count(table), rows * events)
    expect("rows of dead_letters", ours.count("dead_letters"), 0)
    return Worked(counted / seconds, memory)


def until_done(ours: System, worker: Running, start: int, events: int) -> tuple[float, int]:
    """
    Return the seconds from the first visible effects to the commit of the last, and the number of events in that time.

    It reads the sequence of the work list and no rows, so that watching costs almost nothing.
    """
    first, at_first = 0.0, 0
    looked = time.monotonic()
    deadline = looked + _LIMIT
    with ours.connect() as connection:
        while True:
            done = (last_id(connection) - start) // _OUTBOX_ROWS
            now = time.monotonic()
            if done and not first:  # all of them in one check: they came since the check before
                first, at_first = (now, done) if done < events else (looked, 0)
            if done >= events and ours.count("payments") == events:
                return time.monotonic() - first, events - at_first
            if now > deadline:
                raise Void(f"only {done:,} of {events:,} events were handled within {_LIMIT:.0f} s")
            worker.check()
            looked = now
            time.sleep(_LOOK_EVERY)


def last_id(connection: Connection) -> int:
    row = connection.execute("select case when is_called then last_value else 0 end from outbox_pending_id_seq").fetchone()
    return int(row[0]) if row else 0
