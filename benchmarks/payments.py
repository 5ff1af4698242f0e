"""Events a second of one payments worker with all its effects, beside a bare loop that writes the same rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.beside import beside
from benchmarks.figures import Aim, Figure, Result, Void, expect, median, ratio
from benchmarks.preload import preload
from benchmarks.rewrite import BATCH, write_again
from benchmarks.system import Running, System, system
from benchmarks.usage import peak_memory

if TYPE_CHECKING:
    from psycopg import Connection

    from benchmarks.scale import Scale
    from benchmarks.system import Report

EVENTS: Final = 50_000
WORKER: Final = "worker-payments"
_OUTBOX_ROWS: Final = 2  # an event: `billing.payment.succeeded` and the command that tells the user
_LOOK_EVERY: Final = 0.01  # seconds
_LIMIT: Final = 300.0  # seconds for one round
_OFFSETS_KEPT: Final = 3.0  # seconds after which the worker has committed its offsets, so that the next round begins behind them


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
            with beside(write_again, ours.database_url) as rate_within:
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
    """A worker is started on a backlog of webhooks that is there."""
    ours.empty()
    with beside(preload, ours.bootstrap, events) as acknowledged_within:
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
    Seconds from the first sign of effects to the commit of the last, and how many events came after that first sign.

    The sequence of the work list tells how far it is without a look at any row, so that the watching costs nothing.
    """
    first, at_first = 0.0, 0
    deadline = time.monotonic() + _LIMIT
    with ours.connect() as connection:
        while True:
            done = (last_id(connection) - start) // _OUTBOX_ROWS
            now = time.monotonic()
            if done and not at_first:
                first, at_first = now, done
            if done >= events and ours.count("payments") == events:
                return time.monotonic() - first, events - at_first
            if now > deadline:
                raise Void(f"only {done:,} of {events:,} events were handled within {_LIMIT:.0f} s")
            worker.check()
            time.sleep(_LOOK_EVERY)


def last_id(connection: Connection) -> int:
    row = connection.execute("select case when is_called then last_value else 0 end from outbox_pending_id_seq").fetchone()
    return int(row[0]) if row else 0
