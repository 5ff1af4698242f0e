"""
The same rates with 30 million payments of history, the slowest list of an operator, and intake while a day is dropped.

Two systems alternate: an empty one, and one with thirty days of history (see `history.py`). A round sends signed events to a
gateway, and then starts a relay and a worker that process all of them to their last effect.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import history, load
from benchmarks.bodies import write_requests
from benchmarks.failures import FAILURES, reason_of
from benchmarks.figures import Aim, Figure, Result, expect, median, ratio
from benchmarks.operator_calls import Operator, Timed, middle_of
from benchmarks.other_process import in_other_process
from benchmarks.payments import WORKER
from benchmarks.system import System, system
from benchmarks.topic import Topic
from outbox.partitions import DAILY, Upkeep, day_of, partitions
from outbox.settings import RetentionSettings
from outbox.upkeep import keep_partitions
from schemas.topics import Topic as Name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Scale
    from benchmarks.system import Report

HISTORY: Final = 30_000_000
EVENTS: Final = 100_000
_AT_ONCE: Final = 25_000  # signed and sent together: no signature may be older than five minutes
_CONNECTIONS: Final = 64
_LIMIT: Final = 600.0  # seconds
_RATE: Final = 50.0  # events a second while a day is dropped
_BEFORE: Final = 4.0  # seconds until the load begins: the other processes are started by then
_DROP_AFTER: Final = 2.0  # seconds of load before the drop, and at least as many after it
_SECONDS: Final = 8.0
_FOUND: Final = "select p.id, d.event_id::text, d.trace_id, p.user_id from payments p, webhook_deliveries d limit 1"
_SAME: Final = Aim(at_least=0.9)
_LISTED: Final = Aim(at_most=200)  # ms
_INTAKE_LIMIT: Final = Aim(at_most=100)  # ms


class _Rates(NamedTuple):
    """Events a second: acknowledged by the gateway, and processed by relay and worker."""

    intake: float
    payments: float


class _Work(NamedTuple):
    """The work of Postgres for one payment, from the relay's first read to the last effect."""

    wal: float
    """Bytes of the write-ahead log."""
    pages: float
    """Whole pages in it: the first change of a page after a checkpoint."""
    blocks: float
    """Blocks that were not in Postgres' own memory; the operating system may have had them."""


_WORK: Final = """
select (select wal_bytes from pg_stat_wal)::float8, (select wal_fpi from pg_stat_wal)::float8, sum(blks_read)::float8
from pg_stat_database"""


class _Side:
    """A system and its rates in each round."""

    def __init__(self, name: str, ours: System, report: Report) -> None:
        self.name = name
        self.ours = ours
        self.rounds: list[_Rates] = []
        self.work: list[_Work] = []
        self._report = report

    def run_round(self, events: int) -> None:
        with self.ours.connect() as connection:
            connection.execute("checkpoint")
        self._report("growth", f"{self.name}: {events:,} events into the gateway")
        with self.ours.running("gateway"):
            intake = self._send(events)
        self._report("growth", f"{self.name}: through relay and worker")
        billing = Topic(self.ours.bootstrap, Name.BILLING_PAYMENTS)
        ends = billing.ends()
        before = self._work()
        with self.ours.running("relay", WORKER) as processes:

            def check() -> None:
                for process in processes:
                    process.check()

            span = billing.until_readable(ends, events, _LIMIT, check)
        expect("events that are parked", self.ours.count("outbox_pending where parked_at is not null"), 0)
        self.rounds.append(_Rates(intake, span.rate))
        self.work.append(_Work(*((now - then) / events for now, then in zip(self._work(), before, strict=True))))

    def expect_rows(self, number: int) -> None:
        """Count the rows of each table that has one per payment; this reads the whole history, so no round may follow at once."""
        for table in ("dedup", "payments", "history", "consumed where consumer = 'payments'"):
            expect(f"rows in {table}", self.ours.count(table), number)

    def _work(self) -> _Work:
        with self.ours.connect() as connection:
            row = connection.execute(_WORK).fetchone()
        return _Work(*(row or (0.0, 0.0, 0.0)))

    def _send(self, events: int) -> float:
        """Return the acknowledged events a second, over the time in which they were sent."""
        host, port = self.ours.public
        path = self.ours.stack.data_dir / "requests"
        seconds = 0.0
        for begin in range(0, events, _AT_ONCE):
            number = min(_AT_ONCE, events - begin)
            write_requests(path, number, self.ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
            with in_other_process(load.send, load.Plan(path, self.ours.public, _CONNECTIONS)) as answers_within:
                answers = answers_within(_LIMIT)
            expect("events acknowledged", answers.acknowledged, number)
            seconds += answers.seconds
        return events / seconds


class _Drop(NamedTuple):
    """The slowest answer of intake in milliseconds: without a drop, while a reader blocks the drop, and during the drop."""

    without: float
    held: float
    dropped: float
    took: float
    """Milliseconds of the upkeep that dropped the day."""


def run(scale: Scale, report: Report) -> Result:
    """Return the figures; after a failure, those that were measured before it, with its reason."""
    result = Result("growth")
    try:
        _measure(scale, report, result)
    except FAILURES as error:
        result.void.append(reason_of(error))
    return result


def _measure(scale: Scale, report: Report, result: Result) -> None:
    events = scale.count(EVENTS)
    with ExitStack() as stack:
        servers = ("postgres", "kafka", "redis")
        retention = str(history.DAYS + 2)  # the run takes hours, and no midnight in it may remove a day of the history
        systems = [stack.enter_context(system(*servers, report=report, RETENTION_DAYS=retention)) for _ in range(2)]
        sides = [_Side(name, ours, report) for name, ours in zip(("empty", "history"), systems, strict=True)]
        empty, grown = sides
        written = history.write(grown.ours, scale.count(HISTORY), report)
        for _ in range(scale.rounds):
            empty.ours.empty()
            for side in sides:
                side.run_round(events)
            empty.expect_rows(events)
        grown.expect_rows(written.payments + scale.rounds * events)
        result.figures += _rates(empty, grown)
        result.notes += _notes(written, events)
        result.notes += [_note_of(side) for side in sides]
        with grown.ours.running("gateway"):
            listed, counted = (max(each, key=lambda timed: timed.took) for each in _time_calls(grown.ours, scale.rounds, report))
            result.figures += [
                Figure("slowest list or search", listed.took, "ms", aim=_LISTED),
                Figure("slowest account", counted.took, "ms"),
            ]
            result.notes += [
                f"the slowest list or search, of the API and of the console: {listed.call}",
                f"the slowest account: {counted.call}",
            ]
            keep_partitions(_without_oldest(grown.ours, 0), all_due=True)  # a day that ended meanwhile is dropped here
            result.figures += _stalls([_drop(grown.ours, report) for _ in range(scale.rounds)])


def _rates(empty: _Side, grown: _Side) -> list[Figure]:
    figures = []
    for index, name in enumerate(_Rates._fields):
        before, after = ([each[index] for each in side.rounds] for side in (empty, grown))
        figures += [
            ratio(f"{name}: with history ÷ empty", after, before, _SAME),
            median(f"{name}: with history", after, "events/s"),
            median(f"{name}: empty", before, "events/s"),
        ]
    return figures


def _stalls(drops: Sequence[_Drop]) -> list[Figure]:
    return [
        median("longest answer while a day is dropped", [each.dropped for each in drops], "ms", _INTAKE_LIMIT),
        median("longest answer while a reader holds the day", [each.held for each in drops], "ms", _INTAKE_LIMIT),
        median("longest answer otherwise", [each.without for each in drops], "ms"),
        median("drop of a day", [each.took for each in drops], "ms"),
    ]


def _notes(written: history.Written, events: int) -> list[str]:
    size = (
        f"{written.payments:,} payments of {history.DAYS} days, {written.bytes / 1e9:.1f} GB, written in {written.seconds:.0f} s"
    )
    return [
        f"history: {size}; {events:,} events a round",
        f"while a day is dropped {_RATE:g} events a second arrive on a fixed grid",
    ]


def _note_of(side: _Side) -> str:
    wal, pages, blocks = (statistics.median(each) for each in zip(*side.work, strict=True))
    return (
        f"{side.name}: a payment writes {wal / 1000:.1f} KB of WAL, {pages:.2f} whole pages in it, and reads {blocks:.2f} blocks"
    )


def _time_calls(ours: System, times: int, report: Report) -> tuple[list[Timed], list[Timed]]:
    with ours.connect() as connection:
        found = connection.execute(_FOUND).fetchone() or ()
    operator = Operator(ours, middle_of(history.DAYS))
    report("growth", "calling every list and search")
    listed = operator.time([*operator.lists(found), *operator.screens(found)], times)
    report("growth", "calling every account")
    return listed, operator.time(operator.accounts(), times)


def _drop(ours: System, report: Report) -> _Drop:
    """Drop the oldest day, and then the next one while a reader of the log and of the marks blocks the upkeep."""
    report("growth", "dropping a day")
    without = _during_intake(ours, None)
    dropped = _during_intake(ours, _without_oldest(ours, 1))
    expect("tables of a day that are dropped", len(dropped.dropped), len(DAILY))
    report("growth", "dropping a day while a reader blocks it")
    settings = _without_oldest(ours, 1)
    with ours.connect() as connection, connection.transaction():
        connection.execute("select count(*) from (select from outbox limit 1) o, (select from consumed limit 1) c")
        held = _during_intake(ours, settings)
    expect("tables of a day that a reader kept", len(held.deferred), 2)
    left = keep_partitions(settings, all_due=True).dropped
    expect("tables of a day that are dropped, in the end", len({*held.dropped, *left}), len(DAILY))
    return _Drop(without.longest, held.longest, dropped.longest, dropped.took)


def _without_oldest(ours: System, days: int) -> RetentionSettings:
    """Return a retention that ends `days` days after the start of the oldest existing day."""
    with ours.connect() as connection:
        oldest = min(day_of(partition) for partition in partitions(connection))
    kept = (datetime.now(UTC).date() - oldest).days - days
    return RetentionSettings.load({"DATABASE_URL": ours.database_url, "RETENTION_DAYS": str(kept), "RETENTION_GRACE": "0s"})


class _UpkeepRun(NamedTuple):
    """The slowest answer of intake during a run of the upkeep, and the result of the run; times in milliseconds."""

    longest: float
    took: float
    deferred: list[str]
    dropped: list[str]


def _during_intake(ours: System, settings: RetentionSettings | None) -> _UpkeepRun:
    """Run the upkeep while events come in on a fixed time grid; without settings, only send the events."""
    host, port = ours.public
    path, number = ours.stack.data_dir / "requests", int(_RATE * _SECONDS)
    write_requests(path, number, ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
    start_at = time.monotonic() + _BEFORE
    with in_other_process(load.send, load.Plan(path, ours.public, _CONNECTIONS, rate=_RATE, start_at=start_at)) as answers_within:
        time.sleep(_BEFORE + _DROP_AFTER)
        began = time.monotonic()
        upkeep = keep_partitions(settings, all_due=True) if settings else Upkeep([], [], [], [], [])
        took = (time.monotonic() - began) * 1000
        answers = answers_within(_LIMIT)
    expect("events acknowledged", answers.acknowledged, number)
    return _UpkeepRun(max(answers.latencies) * 1000, took, upkeep.deferred, upkeep.dropped)
