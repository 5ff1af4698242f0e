"""Bare producers of the same records: one with the relay's producer configuration, one of aiokafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, Message, Producer

from benchmarks import backlog
from outbox.publisher import Publisher
from runtime.kafka import Cluster
from schemas.envelope import to_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    Headers = list[tuple[str, str | bytes | None]]

_FLUSH = 120.0  # seconds
_SERVE_EVERY = 1000  # records between two polls for acknowledgements


class Ready(NamedTuple):
    """One record as `produce` takes it."""

    topic: str
    value: bytes
    key: str
    headers: Headers


def produce_backlog(url: str, bootstrap: str) -> int:
    """Read the backlog into memory, then produce it; returns how many Kafka acknowledged."""
    return produce(bootstrap, _read(url))


def produce_backlog_with_aiokafka(url: str, bootstrap: str) -> int:
    """Do the same with aiokafka's producer, idempotent and with all acknowledgements; returns how many Kafka acknowledged."""
    return asyncio.run(_produce_with_aiokafka(bootstrap, _read(url)))


def _read(url: str) -> list[Ready]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [Ready(event.topic, event.data, event.aggregate_id, to_headers(event)) for event in backlog.read(connection)]


async def _produce_with_aiokafka(bootstrap: str, records: Sequence[Ready]) -> int:
    ready = [
        (record.topic, record.value, record.key.encode(), [(name, str(value).encode()) for name, value in record.headers])
        for record in records
    ]
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", max_batch_size=262_144)
    await producer.start()
    try:
        sent = [await producer.send(topic, value, key, headers=headers) for topic, value, key, headers in ready]
        return len(await asyncio.gather(*sent))
    finally:
        await producer.stop()


def produce(bootstrap: str, records: Sequence[Ready]) -> int:
    """Produce as fast as the library takes records; returns the number that Kafka acknowledged."""
    # The configuration of the relay itself, so that both always agree.
    producer = Producer(Publisher(Cluster(bootstrap))._config)  # noqa: SLF001
    acknowledged = 0

    def report(error: KafkaError | None, _: Message) -> None:
        nonlocal acknowledged
        acknowledged += error is None

    for number, record in enumerate(records):
        while True:
            try:
                producer.produce(record.topic, record.value, record.key, headers=record.headers, on_delivery=report)
            except BufferError:
                producer.poll(0.1)
            else:
                break
        if number % _SERVE_EVERY == 0:
            producer.poll(0)
    producer.flush(_FLUSH)
    return acknowledged
