"""Topics of a test's own, and what stands in them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from outbox.errors import BrokerError
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from outbox.offsets import Offsets


class Stored(NamedTuple):
    """One record as a reader sees it."""

    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, str]


def make_topic(bootstrap: str, *, partitions: int = 4, **config: str) -> str:
    """A fresh topic; returns its name."""
    name = f"test-{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, partitions, 1, config=config)])
    made[name].result(20)
    return name


def led(offsets: Offsets, topics: Collection[str]) -> bool:
    """Whether these topics are there, and every new partition has its leader."""
    try:
        return {place.topic for place in offsets.spans(topics)} == {*topics}
    except BrokerError:
        return False


def delete_records(bootstrap: str, topic: str, before: dict[int, int]) -> None:
    """Have Kafka forget what is before these offsets, as its retention does."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([TopicPartition(topic, *pair) for pair in before.items()]).values():
        future.result(20)


def make_anew(bootstrap: str, topic: str, partitions: int) -> None:
    """Delete a topic and make it again under its name, as soon as Kafka lets us."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(20)

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
        return True

    wait_until(made)


def read_topic(
    bootstrap: str, topic: str, *, until: Callable[[list[Stored]], bool], seconds: float = LIMIT, start: int = -2
) -> list[Stored]:
    """
    Every record of the topic from its beginning, in the order of each partition, until enough of them are there.

    Fails when they have not come in time, telling how many did.
    """
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"reader-{uuid4()}", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
    )
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, start) for number in known])
        found: list[Stored] = []
        deadline = time.monotonic() + seconds
        while not until(found):
            assert time.monotonic() < deadline, f"only {len(found)} records of {topic} came within {seconds} s"
            found += [_stored(message) for message in consumer.consume(500, timeout=0.05) if message.error() is None]
        return found
    finally:
        consumer.close()


def _stored(message: object) -> Stored:
    headers = {name: value.decode() for name, value in message.headers() or ()}
    return Stored(message.partition(), message.offset(), (message.key() or b"").decode(), message.value(), headers)
