"""A worker against a backlog of large events holds no more of them than it can handle."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka import Producer

from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from schemas.stripe import DATASCHEMA
from schemas.topics import Topic
from tests.simulators.stripe import Payment
from tests.system import System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack

WORKER: Final = "worker-payments"
EVENTS: Final = 5000
SIZE: Final = 250_000
LIMIT: Final = 300_000_000
_LINE: Final = random.Random(7).randbytes(500).hex()
WORDS: Final = _LINE * (SIZE // len(_LINE))
"""The producer compresses it to a hundredth of its size on the broker; a worker holds all of it."""


def write_backlog(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 5})
    failed: list[object] = []

    def note(error: object, _: object) -> None:
        if error:
            failed.append(error)

    for number in range(EVENTS):
        event = stripe(f"pi_{number}")
        assert len(event.data) >= SIZE
        producer.produce(event.topic, event.data, event.aggregate_id, headers=to_headers(event), on_delivery=note)
        if number % 100 == 99:
            producer.flush()
    producer.flush()
    assert failed == []


def stripe(payment: str) -> Event:
    return Event(
        id=new_id(),
        topic=Topic.WEBHOOKS_STRIPE,
        aggregate_type="payment",
        aggregate_id=payment,
        source="/test",
        type="com.stripe.payment_intent.succeeded",
        dataschema=DATASCHEMA,
        occurred_at=datetime.now(UTC),
        traceparent=new_trace().traceparent,
        data=Payment(id=payment).succeeded(description=WORDS),
    )


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    system = System(empty_stack, workers=("payments",))
    system.prepare()
    write_backlog(system.kafka)
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.mark.timeout(300)
def test_five_thousand_events_of_a_quarter_of_a_megabyte_keep_a_worker_under_300_megabytes(system: System) -> None:
    worker = system.process(WORKER).pid
    wait_until(lambda: system.count("payments where status = 'succeeded'") == EVENTS)
    assert system.count("consumed where consumer = 'payments'") == EVENTS
    assert (system.process(WORKER).pid, system.process(WORKER).restarts, system.count("dead_letters")) == (worker, 0, 0)
    assert peak_memory(worker) < LIMIT


def peak_memory(pid: int | None) -> int:
    """The most resident memory that the process ever had, in bytes."""
    [kilobytes] = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes) * 1024
