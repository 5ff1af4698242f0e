"""Our relay beside bare producers and Debezium: the drain of a backlog, the latency, and the cost at rest."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from benchmarks import backlog, debezium
from benchmarks.backlog import TOPIC, number_in, write_paced
from benchmarks.figures import Aim, Figure, Result, Void, cpu_seconds, expect, median, peak_memory, percentiles, ratio
from benchmarks.other_process import in_other_process
from benchmarks.producer import produce_backlog, produce_backlog_with_aiokafka
from benchmarks.system import System, system
from benchmarks.topic import Offsets, Topic, header
from ops.stack.errors import Reason, StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Scale
    from benchmarks.system import Report

ROWS: Final = 200_000
RATE: Final = 300.0  # transactions a second, over two connections
SECONDS: Final = 30.0
_WRITERS: Final = 2
_LIMIT: Final = 300.0  # seconds for one drain
_START_IN: Final = 3.0  # seconds until the grid of the writers begins
_SETTLE: Final = 3.0  # seconds before a process counts as idle


class Process(Protocol):
    """A running relay of either kind."""

    @property
    def pid(self) -> int: ...

    def check(self) -> None: ...


class Drained(NamedTuple):
    """One drain: rows a second from the first to the last readable record, and the seconds before the first."""

    rate: float
    first_after: float
    memory: float = 0.0


class Quiet(NamedTuple):
    """A relay with little or no work: latencies in seconds, CPU as a share of one core."""

    latencies: list[float]
    cpu: float
    memory: float


def run(scale: Scale, report: Report) -> Result:
    result = Result("relay")
    try:
        with system("postgres", "kafka", report=report) as ours:
            _measure_ours(ours, scale, report, result)
        if scale.with_peer:
            debezium.fetch_jars()
            with system("postgres", "kafka", report=report) as theirs:
                _measure_peer(theirs, scale, report, result)
    except StackError as refusal:
        if refusal.reason is not Reason.DOWNLOAD_REFUSED:
            raise
        result.notes.append(f"Debezium was not measured: {refusal}")
    except Void as void:
        result.void.append(str(void))
    return result


def _measure_ours(ours: System, scale: Scale, report: Report, result: Result) -> None:
    rows = scale.count(ROWS)
    topic = Topic(ours.bootstrap, TOPIC)
    relayed: list[Drained] = []
    bare: list[float] = []
    bare_aiokafka: list[float] = []
    _bare(ours, topic, max(1000, rows // 10), produce_backlog)  # to warm up the broker's Java
    for number in range(1, scale.rounds + 1):
        report("relay", f"round {number} of {scale.rounds}: relay, {rows:,} rows")
        relayed.append(_drain(ours, topic, rows))
        report("relay", f"round {number} of {scale.rounds}: bare producer, {rows:,} records")
        bare.append(_bare(ours, topic, rows, produce_backlog))
        report("relay", f"round {number} of {scale.rounds}: bare aiokafka producer, {rows:,} records")
        bare_aiokafka.append(_bare(ours, topic, rows, produce_backlog_with_aiokafka))
    ours.empty()
    with ours.running("relay") as [relay]:
        quiet = _quiet(ours, topic, relay, scale, report)
    rates = [each.rate for each in relayed]
    result.figures += [
        ratio("drain ÷ bare producer", rates, bare, Aim(at_least=0.7)),
        ratio("drain ÷ bare aiokafka producer", rates, bare_aiokafka, Aim(at_least=0.7)),
        median("drain", rates, "rows/s"),
        median("bare producer", bare, "records/s"),
        median("bare aiokafka producer", bare_aiokafka, "records/s"),
        median("start to first record", [each.first_after for each in relayed], "s"),
        *percentiles("commit to Kafka", quiet.latencies),
        Figure("idle CPU", quiet.cpu * 100, "% of a core", aim=Aim(at_most=1)),
        Figure("peak memory", max(quiet.memory, *(each.memory for each in relayed)), "MiB", aim=Aim(at_most=150)),
    ]


def _measure_peer(theirs: System, scale: Scale, report: Report, result: Result) -> None:
    rows = scale.count(ROWS)
    topic = Topic(theirs.bootstrap, TOPIC)
    debezium.prepare(theirs)
    drained: list[Drained] = []
    report("relay", "starting Debezium")
    with debezium.connector(theirs) as peer:
        report("relay", f"Debezium: {rows // 2:,} rows to warm up its Java")
        _resume(theirs, topic, peer, max(1000, rows // 2))
        for number in range(1, scale.rounds + 1):
            report("relay", f"round {number} of {scale.rounds}: Debezium, {rows:,} rows")
            drained.append(_resume(theirs, topic, peer, rows))
        theirs.empty()
        quiet = _quiet(theirs, topic, peer, scale, report)
    rates = [each.rate for each in drained]
    result.figures += [
        ratio("drain ÷ Debezium's drain", [f.value for f in result.figures if f.name == "drain"], [median("", rates, "").value]),
        median("Debezium: drain", rates, "rows/s"),
        median("Debezium: resume to first record", [each.first_after for each in drained], "s"),
        *percentiles("Debezium: commit to Kafka", quiet.latencies),
        Figure("Debezium: idle CPU", quiet.cpu * 100, "% of a core"),
        Figure("Debezium: peak memory", quiet.memory, "MiB"),
    ]


def _drain(ours: System, topic: Topic, rows: int) -> Drained:
    """Write a backlog, and then start a relay that drains it."""
    ours.empty()
    with ours.connect() as connection:
        backlog.fill(connection, rows)
    before, started = topic.ends(), time.monotonic()
    with ours.running("relay") as [relay]:
        span = topic.until_readable(before, rows, _LIMIT, relay.check)
        until_none_pending(ours)
        memory = peak_memory(relay.pid)
    check_records(topic, before, rows, "ce_id")
    return Drained(span.rate, span.first - started, memory)


def _bare(ours: System, topic: Topic, rows: int, produce: Callable[[str, str], int]) -> float:
    """Produce the same rows from a process that has read them before and only produces, with the library itself."""
    ours.empty()
    with ours.connect() as connection:
        backlog.fill(connection, rows)
    before = topic.ends()
    with in_other_process(produce, ours.database_url, ours.bootstrap) as acknowledged_within:
        span = topic.until_readable(before, rows, _LIMIT, lambda: None)
        expect("records that the bare producer had acknowledged", acknowledged_within(_LIMIT), rows)
    check_records(topic, before, rows, "ce_id")
    return span.rate


def _resume(theirs: System, topic: Topic, peer: debezium.Connector, rows: int) -> Drained:
    """Write the backlog while the connector is stopped, and then resume it in the warm worker."""
    theirs.empty()
    peer.pause()
    with theirs.connect() as connection:
        backlog.fill(connection, rows)
    before, resumed = topic.ends(), time.monotonic()
    peer.resume()
    span = topic.until_readable(before, rows, _LIMIT, peer.check)
    check_records(topic, before, rows, "id")
    return Drained(span.rate, span.first - resumed)


def _quiet(system: System, topic: Topic, relay: Process, scale: Scale, report: Report) -> Quiet:
    seconds = scale.seconds(SECONDS)
    report("relay", f"latency at {RATE:g} transactions a second for {seconds:g} s")
    latencies = _latencies(system, topic, relay, seconds)
    time.sleep(_SETTLE)
    report("relay", f"idle for {seconds:g} s")
    before = cpu_seconds(relay.pid)
    time.sleep(seconds)
    return Quiet(latencies, (cpu_seconds(relay.pid) - before) / seconds, peak_memory(relay.pid))


def _latencies(system: System, topic: Topic, relay: Process, seconds: float) -> list[float]:
    """Return the seconds from the return of each commit until a consumer has the record; both use this machine's clock."""
    before, start_at = topic.ends(), time.monotonic() + _START_IN
    wanted = _WRITERS * int(RATE / _WRITERS * seconds)
    with ExitStack() as writers:
        each = [
            writers.enter_context(
                in_other_process(write_paced, system.database_url, RATE / _WRITERS, seconds, start_at + place / RATE)
            )
            for place in range(_WRITERS)
        ]
        arrived = _arrivals(topic, before, wanted, start_at + seconds + 30)
        relay.check()
        committed = {event: at for within in each for event, at in within(30).at.items()}
    if arrived.keys() != committed.keys():
        raise Void(f"{len(committed):,} events were committed, but {len(arrived):,} or other events arrived")
    return [arrived[event] - at for event, at in committed.items()]


def _arrivals(topic: Topic, before: Offsets, wanted: int, deadline: float) -> dict[str, float]:
    arrived: dict[str, float] = {}
    for message in topic.arriving(before):
        now = time.monotonic()
        if message is not None:
            arrived.setdefault(header(message, "ce_id") or header(message, "id") or "", now)
        if len(arrived) >= wanted or now > deadline:
            break
    return arrived


def until_none_pending(ours: System) -> None:
    deadline = time.monotonic() + _LIMIT
    while ours.count("outbox_pending"):
        if time.monotonic() > deadline:
            raise Void("rows are pending although Kafka has all of them")
        time.sleep(0.05)


def check_records(topic: Topic, before: Offsets, rows: int, id_header: str) -> None:
    """Raise Void unless every row is on Kafka once, with the rows of each key in their order."""
    seen: set[str | None] = set()
    last: dict[bytes | str | None, int] = {}
    records = disordered = 0
    for message in topic.records(before):
        number = number_in(message.value() or b"")
        disordered += number <= last.get(message.key(), 0)
        last[message.key()] = number
        seen.add(header(message, id_header))
        records += 1
    expect("records on Kafka", records, rows)
    expect("distinct events on Kafka", len(seen), rows)
    expect("records out of the order of their key", disordered, 0)
