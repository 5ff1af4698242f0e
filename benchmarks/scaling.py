"""One process and then two of a kind on the same backlog: their shares, and the gain of the second one on one machine."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import requests

from benchmarks import backlog
from benchmarks.backlog import TOPIC
from benchmarks.figures import Figure, Result, Void, expect, median, ratio
from benchmarks.other_process import in_other_process
from benchmarks.payments import WORKER, last_id, until_done
from benchmarks.preload import preload
from benchmarks.relay import check_records, until_none_pending
from benchmarks.system import Running, System, system
from benchmarks.topic import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.figures import Scale
    from benchmarks.system import Report

ROWS: Final = 100_000
EVENTS: Final = 30_000
_KINDS: Final = {"relay": ("relay", "relay-2"), WORKER: (WORKER, f"{WORKER}-2")}
_SHARDS: Final = 64
_PARTITIONS: Final = 16  # of the two topics that the payments worker reads
_LIMIT: Final = 300.0  # seconds


class Shared(NamedTuple):
    """One drain: its rate, and the number of events that each process handled."""

    rate: float
    done: list[int]

    @property
    def least(self) -> float:
        """The share of the process that handled the fewest events."""
        return min(self.done) / sum(self.done)


def run(scale: Scale, report: Report) -> Result:
    result = Result("scaling")
    try:
        with system("postgres", "kafka", report=report, STREAMS_SESSION_TIMEOUT="60s") as ours:
            # The workers are first: the relays write records to Kafka that no worker can handle.
            for kind, drain, size in ((WORKER, _work, EVENTS), ("relay", _relay, ROWS)):
                drains: dict[int, list[Shared]] = {1: [], 2: []}
                for number in range(1, scale.rounds + 1):
                    for processes, found in drains.items():
                        report("scaling", f"round {number} of {scale.rounds}: {processes} of {kind}")
                        found.append(drain(ours, _KINDS[kind][:processes], scale.count(size)))
                result.figures += _figures(kind, drains[1], drains[2])
    except Void as void:
        result.void.append(str(void))
    return result


def _figures(kind: str, alone: Sequence[Shared], together: Sequence[Shared]) -> list[Figure]:
    one, two = [each.rate for each in alone], [each.rate for each in together]
    return [
        ratio(f"{kind}: two ÷ one", two, one),
        median(f"{kind}: one", one, "events/s"),
        median(f"{kind}: two together", two, "events/s"),
        median(f"{kind}: share of the one that did less", [100 * each.least for each in together], "%"),
    ]


def _relay(ours: System, names: Sequence[str], rows: int) -> Shared:
    """Wait until the relays own their shards, and then commit the whole backlog at once."""
    ours.empty()
    topic = Topic(ours.bootstrap, TOPIC)
    before = topic.ends()
    with ours.running(*names) as relays:
        shards = _SHARDS // len(relays)
        _await(lambda: all(_metric(relay, "tallyhook_relay_shards") == shards for relay in relays), "shards are not shared out")
        with _paused(relays), ours.connect() as connection:
            backlog.fill(connection, rows)
        span = topic.until_readable(before, rows, _LIMIT, relays[0].check)
        until_none_pending(ours)
        done = [_metric(relay, "tallyhook_relay_relayed_total") for relay in relays]
    check_records(topic, before, rows, "ce_id")
    expect("events that the relays have relayed", sum(done), rows)
    return Shared(span.rate, done)


def _work(ours: System, names: Sequence[str], events: int) -> Shared:
    """Wait until the workers have their partitions, and then write all webhooks to Kafka while the workers are paused."""
    ours.empty()
    with ours.running(*names) as workers:
        share = _PARTITIONS // len(workers)
        _await(lambda: all(_partitions(each) == share for each in workers), "partitions are not shared out")
        with ours.connect() as connection:
            start = last_id(connection)
        with in_other_process(preload, ours.bootstrap, events) as acknowledged_within, _paused(workers):
            expect("webhooks on Kafka", acknowledged_within(_LIMIT), events)
        seconds, counted = until_done(ours, workers[0], start, events)
        done = [_metric(each, "tallyhook_worker_handled_total") for each in workers]
        time.sleep(3)  # until the offsets are committed, so that the next round begins after them
    expect("rows of consumed", ours.count("consumed"), events)
    expect("rows of outbox", ours.count("outbox"), 2 * events)
    expect("events that the workers have handled", sum(done), events)
    return Shared(counted / seconds, done)


@contextmanager
def _paused(processes: Sequence[Running]) -> Iterator[None]:
    """Pause the processes during the block, and continue them together."""
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each.pid, signal.SIGCONT)


def _metric(process: Running, metric: str) -> int:
    """Return the sum of a metric over its labels, as the process exports it."""
    text = requests.get(f"{process.web}/metrics", timeout=10).text
    return int(sum(float(value) for value in re.findall(rf"^{metric}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)))


def _partitions(process: Running) -> int:
    return int(requests.get(f"{process.web}/health/ready", timeout=10).json()["partitions"])


def _await(fact: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _LIMIT
    while not fact():
        if time.monotonic() > deadline:
            raise Void(otherwise)
        time.sleep(0.2)
