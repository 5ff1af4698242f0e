"""
The reference of the payments worker: the very rows that it wrote, read back and written again by a bare loop of psycopg.

Pure SQL over batches of 200, one connection, values made ready before the clock starts: what is left of the worker when nothing
is read from Kafka, decoded, folded or decided.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import Connection, sql

from benchmarks.figures import expect

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH: Final = 200  # events


class _Source(NamedTuple):
    """A table, the order in which its rows are written, and how many of them one event makes."""

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
    """All rows of one table, as statement and parameters a batch."""

    table: str
    count: int
    statement: sql.Composed
    batches: list[list[list[Any]]]


def read_back(url: str) -> list[Rows]:
    """Everything that the worker wrote, batch by batch."""
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
