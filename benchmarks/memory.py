"""The peak memory of gateway, relay and worker while many events pass through all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks import load
from benchmarks.bodies import write_requests
from benchmarks.figures import Aim, Figure, Result, expect, peak_memory
from benchmarks.journey import SUCCEEDED
from benchmarks.other_process import in_other_process
from benchmarks.payments import WORKER
from benchmarks.system import Running, System, system
from benchmarks.topic import Topic, header
from schemas.topics import Topic as Name

if TYPE_CHECKING:
    from benchmarks.figures import Scale
    from benchmarks.system import Report

EVENTS: Final = 200_000
_AT_ONCE: Final = 25_000  # signed and sent together: no signature may be older than five minutes
_CONNECTIONS: Final = 64
_LIMIT: Final = 600.0  # seconds
_AIM: Final = Aim(at_most=300)


def run(scale: Scale, report: Report) -> Result:
    events = scale.count(EVENTS)
    with (
        system("postgres", "kafka", "redis", report=report) as ours,
        ours.running("relay", WORKER, "gateway") as processes,
    ):
        started = time.monotonic()
        _send(ours, events, report)
        sent = time.monotonic() - started
        report("memory", "waiting for the last effects")
        _until_effects(ours, processes, events)
        through = time.monotonic() - started
        peaks = [Figure(f"peak memory: {each.name}", peak_memory(each.pid), "MiB", aim=_AIM) for each in processes]
        _check(ours, events)
    rates = [
        Figure("acknowledged", events / sent, "events/s"),
        Figure("through all three, effects included", events / through, "events/s"),
    ]
    return Result("memory", [*peaks, *rates], [f"{events:,} events over HTTP, {_CONNECTIONS} connections, all processes at once"])


def _send(ours: System, events: int, report: Report) -> None:
    host, port = ours.public
    requests = ours.stack.data_dir / "requests"
    for begin in range(0, events, _AT_ONCE):
        number = min(_AT_ONCE, events - begin)
        report("memory", f"sending: {begin:,} of {events:,} events")
        write_requests(requests, number, ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
        with in_other_process(load.send, load.Plan(requests, ours.public, _CONNECTIONS)) as answers_within:
            expect("events acknowledged", answers_within(_LIMIT).acknowledged, number)


def _until_effects(ours: System, processes: list[Running], events: int) -> None:
    def check() -> None:
        for process in processes:
            process.check()

    topic = Topic(ours.bootstrap, Name.BILLING_PAYMENTS)
    topic.until_readable(topic.starts(), events, _LIMIT, check)


def _check(ours: System, events: int) -> None:
    """Raise Void unless every event is once in each table and on the topic."""
    topic = Topic(ours.bootstrap, Name.BILLING_PAYMENTS)
    news = [message.key() for message in topic.records(topic.starts()) if header(message, "ce_type") == SUCCEEDED]
    expect("news of payments", len(news), events)
    expect("distinct payments in the news", len(set(news)), events)
    for table in ("dedup", "consumed", "payments"):
        expect(f"rows of {table}", ours.count(table), events)
    expect("rows of dead_letters", ours.count("dead_letters"), 0)
