"""The time after an hour without Kafka until its webhooks are drained and have their effects, and the delay of new ones."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks import hour
from benchmarks.figures import Aim, Figure, Result, Void, expect, median, peak_memory, percentiles
from benchmarks.hour import WEBHOOK
from benchmarks.journey import SUCCEEDED
from benchmarks.other_process import in_other_process
from benchmarks.payments import WORKER
from benchmarks.relay import until_none_pending
from benchmarks.system import System, system
from benchmarks.topic import Offsets, Topic, header
from schemas.topics import Topic as Name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.figures import Scale
    from benchmarks.hour import Answered
    from benchmarks.system import Report

EVENTS: Final = 720_000
_PROCESSES: Final = ("relay", WORKER, "gateway")
_SMALL: Final = 0.05
"""The part of the backlog after which memory is measured too: it fills every buffer, so further growth depends on the events."""
_LIMIT: Final = 3600.0  # seconds
_LED_WITHIN: Final = 60.0  # seconds
_LOOK_EVERY: Final = 0.25  # seconds
_FLAT: Final = 1.5
_MARKS: Final = "consumed where consumer = 'payments'"


class _Seen(NamedTuple):
    """The times at which the broker first appended the event about each payment, in Unix seconds, and the number of repeats."""

    at: dict[str, float]
    repeats: int


class _Outage(NamedTuple):
    """One outage. Seconds are counted from the moment at which Kafka answers again."""

    first: float
    drained: float
    settled: float
    answers: list[float]
    to_kafka: list[float]
    to_billing: list[float]
    memory: dict[str, float]
    repeats: int


def run(scale: Scale, report: Report) -> Result:
    events = scale.count(EVENTS)
    outages: list[_Outage] = []
    with system("postgres", "kafka", "redis", report=report) as ours:
        report("outage", "a small outage, for the comparison of memory")
        small = _one_outage(ours, max(1000, round(events * _SMALL)), report)
        for number in range(1, scale.rounds + 1):
            report("outage", f"round {number} of {scale.rounds}: {events:,} events")
            outages.append(_one_outage(ours, events, report))
    sent = sum(len(each.answers) for each in outages)
    notes = [
        f"{events:,} webhooks wait when Kafka comes back; {hour.RATE:g} new ones a second from then on, {sent:,} in all",
        f"{sum(each.repeats for each in outages):,} webhooks went to Kafka twice, since their acknowledgement was lost or late",
        f"memory is compared with that of the same processes after {max(1000, round(events * _SMALL)):,} events",
    ]
    return Result("outage", [*_rates(outages, events), *_new_event_figures(outages), *_memory(outages, small)], notes)


def _rates(outages: Sequence[_Outage], events: int) -> list[Figure]:
    return [
        median("Kafka back to first record", [each.first for each in outages], "s"),
        median("Kafka back to drained", [each.drained for each in outages], "s"),
        median("Kafka back to the last billing event", [each.settled for each in outages], "s"),
        median("drained", [events / (each.drained - each.first) for each in outages], "rows/s"),
        median("effects", [events / (each.settled - each.first) for each in outages], "events/s"),
    ]


def _new_event_figures(outages: Sequence[_Outage]) -> list[Figure]:
    def of_all(which: Callable[[_Outage], list[float]]) -> list[float]:
        return [value for each in outages for value in which(each)]

    return [
        *percentiles("new ones, call to answer", of_all(lambda each: each.answers), p99=Aim(at_most=1000)),
        *percentiles("new ones, answer to Kafka", of_all(lambda each: each.to_kafka))[:2],
        *percentiles("new ones, answer to billing event", of_all(lambda each: each.to_billing))[:2],
    ]


def _memory(outages: Sequence[_Outage], small: _Outage) -> list[Figure]:
    figures = []
    for name, before in small.memory.items():
        most = max(each.memory[name] for each in outages)
        figures += [
            Figure(f"peak memory ÷ after a small one: {name}", most / before, "x", aim=Aim(at_most=_FLAT)),
            Figure(f"peak memory: {name}", most, "MiB"),
        ]
    return figures


def _one_outage(ours: System, events: int, report: Report) -> _Outage:
    """Stop Kafka, write the events of an hour, start Kafka, and send new events until the backlog has all of its effects."""
    ours.empty()
    webhooks, billing = (Topic(ours.bootstrap, name) for name in (Name.WEBHOOKS_STRIPE, Name.BILLING_PAYMENTS))
    before = webhooks.ends(), billing.ends()
    with ours.running(*_PROCESSES) as processes:
        ours.stack.kafka.stop()
        backlog, last = _write_backlog(ours, events, report)
        ours.stack.kafka.start()
        back_at = time.time()
        report("outage", "Kafka is back")
        billing.until_led(_LED_WITHIN)
        with _new_events(ours) as (check_load, answered):
            checks = [*(process.check for process in processes), check_load]
            _until_readable(billing, before[1], events, checks)
            # These may include new events: the load goes on until the backlog itself is handled.
            _until_handled(ours, f"{_MARKS} and event_id <= '{last}'", events, checks)
            new = answered()
        _until_handled(ours, _MARKS, events + len(new), checks[:-1])
        until_none_pending(ours)
        memory = {each.name: peak_memory(each.pid) for each in processes}
    report("outage", "counting")
    relayed = _seen(webhooks, before[0], WEBHOOK, in_order=backlog)
    settled = _seen(billing, before[1], SUCCEEDED)
    _check(ours, relayed, settled, {*backlog, *new})
    return _measured(relayed, settled, backlog, new, back_at)._replace(memory=memory)


def _measured(relayed: _Seen, settled: _Seen, backlog: Sequence[str], new: dict[str, Answered], back_at: float) -> _Outage:
    last = max(settled.at[payment] for payment in backlog)
    until = max(last, min(each.at for each in new.values()))  # a small backlog may be settled before the first answer
    meanwhile = {payment: each for payment, each in new.items() if each.at <= until}
    waited = [relayed.at[payment] for payment in backlog]
    return _Outage(
        first=min(waited) - back_at,
        drained=max(waited) - back_at,
        settled=last - back_at,
        answers=[each.latency for each in meanwhile.values()],
        to_kafka=[max(0.0, relayed.at[payment] - each.at) for payment, each in meanwhile.items()],
        to_billing=[max(0.0, settled.at[payment] - each.at) for payment, each in meanwhile.items()],
        memory={},
        repeats=relayed.repeats,
    )


def _write_backlog(ours: System, events: int, report: Report) -> tuple[list[str], str]:
    """Write the rows that gateway and sweeps would have written in the hour; returns the payments, and the last event's id."""
    with ours.connect() as connection:
        payments = hour.fill(connection, events, lambda done: report("outage", f"{done:,} of {events:,} events are written"))
        [last] = connection.execute("select event_id::text from dedup order by event_id desc limit 1").fetchone() or [""]
    ours.sweep()
    return payments, last


@contextmanager
def _new_events(ours: System) -> Iterator[tuple[Callable[[], None], Callable[[], dict[str, Answered]]]]:
    """Send new events in another process; yields its check, and a function that stops it and returns the answers by payment."""
    stop = ours.stack.data_dir / "stop"
    stop.unlink(missing_ok=True)
    secret = ours.settings["STRIPE_WEBHOOK_SECRET"]
    with in_other_process(hour.send_until, stop, ours.public, secret) as answered_within:

        def end() -> dict[str, Answered]:
            stop.touch()
            return answered_within(_LIMIT)

        yield answered_within.check, end


def _until_readable(topic: Topic, before: Offsets, number: int, checks: Sequence[Callable[[], None]]) -> None:
    """Wait with rare checks: the times are the broker's."""

    def check() -> None:
        for each in checks:
            each()
        time.sleep(_LOOK_EVERY)

    topic.until_readable(before, number, _LIMIT, check)


def _until_handled(ours: System, marks: str, number: int, checks: Sequence[Callable[[], None]]) -> None:
    deadline = time.monotonic() + _LIMIT
    while (found := ours.count(marks)) < number:
        if time.monotonic() > deadline:
            raise Void(f"only {found:,} of {number:,} events were handled within {_LIMIT:.0f} s")
        for check in checks:
            check()
        time.sleep(_LOOK_EVERY)


def _seen(topic: Topic, before: Offsets, kind: str, in_order: Sequence[str] = ()) -> _Seen:
    """
    Read the events of the type `kind`, one about each payment; within a partition those of `in_order` must be in that order.

    A relay that loses Kafka sends its unacknowledged events again, with the same ids: such repeats are counted.
    """
    places = {payment: place for place, payment in enumerate(in_order)}
    last = dict.fromkeys(before, -1)
    at: dict[str, float] = {}
    ids: dict[str, str | None] = {}
    repeats = disordered = 0
    for message in topic.records(before):
        if header(message, "ce_type") != kind:
            continue
        payment, partition, event = (message.key() or b"").decode(), message.partition() or 0, header(message, "ce_id")
        if payment in at:
            repeats += 1
            expect(f"events about {payment} in {topic.name}", len({event, ids[payment]}), 1)
            continue
        at[payment], ids[payment] = message.timestamp()[1] / 1000, event
        if (place := places.get(payment)) is not None:
            disordered += place < last[partition]
            last[partition] = place
    expect(f"events out of their order in {topic.name}", disordered, 0)
    return _Seen(at, repeats)


def _check(ours: System, relayed: _Seen, settled: _Seen, payments: set[str]) -> None:
    """Raise Void unless every payment is in each table and topic, and has its effects once."""
    expect("payments that only came in or only went to Kafka", len(relayed.at.keys() ^ payments), 0)
    expect("payments that only came in or only are in the news", len(settled.at.keys() ^ payments), 0)
    for table in ("dedup", "webhook_deliveries", "payments", _MARKS):
        expect(f"rows of {table}", ours.count(table), len(payments))
    expect("rows of dead_letters", ours.count("dead_letters"), 0)
