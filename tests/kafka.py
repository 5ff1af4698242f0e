"""Topics of one test, and the records in them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from outbox.errors import BrokerError
from outbox.offsets import partition_of
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from outbox.offsets import Offsets, Place
    from runtime.kafka import Cluster


class Stored(NamedTuple):
    """One record as a reader sees it."""

    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, str]


def settings_of(kafka: Cluster) -> dict[str, str]:
    """Return the settings of a process that uses this cluster under this prefix."""
    return {"KAFKA_BOOTSTRAP_SERVERS": kafka.servers, "KAFKA_TOPIC_PREFIX": kafka.prefix}


def fresh_name() -> str:
    """Return the name of a topic that does not exist."""
    return f"test-{uuid4().hex[:12]}"


def make_topic(kafka: Cluster, name: str = "", *, partitions: int = 4, **config: str) -> str:
    """A fresh topic; returns our name of it, which on the cluster is behind the prefix."""
    name = name or fresh_name()
    admin = AdminClient(kafka.client)
    made = admin.create_topics([NewTopic(kafka.named(name), partitions, 1, config=config)])
    made[kafka.named(name)].result(20)
    return name


def names_on(kafka: Cluster) -> set[str]:
    """Return every topic and group of the cluster, with or without our prefix, but for Kafka's own."""
    admin = AdminClient(kafka.client)
    groups = admin.list_consumer_groups().result(20).valid
    names = {*admin.list_topics(timeout=20).topics, *(group.group_id for group in groups)}
    return {name for name in names if not name.startswith("__")}


def unprefixed_names(kafka: Cluster, before: set[str]) -> set[str]:
    """Return the new names that lack the prefix, so that all tests see them."""
    return {name for name in names_on(kafka) - before if not name.startswith(kafka.prefix)}


def delete_all_of(kafka: Cluster) -> None:
    """Delete the topics behind the prefix; what was committed in them goes with them."""
    admin = AdminClient(kafka.client)
    if topics := [name for name in admin.list_topics(timeout=20).topics if name.startswith(kafka.prefix)]:
        for deleted in admin.delete_topics(topics).values():
            deleted.result(20)


def have_leaders(offsets: Offsets, topics: Collection[str]) -> bool:
    """Report whether these topics exist and every new partition has a leader."""
    try:
        return {place.topic for place in offsets.spans(topics)} == {*topics}
    except BrokerError:
        return False


def delete_records(kafka: Cluster, topic: str, before: dict[int, int]) -> None:
    """Have Kafka delete the records before these offsets, as its retention does."""
    admin = AdminClient(kafka.client)
    for future in admin.delete_records([TopicPartition(kafka.named(topic), *pair) for pair in before.items()]).values():
        future.result(20)


def commit_for(kafka: Cluster, group: str, offsets: Mapping[Place, int]) -> None:
    """Commit these offsets for the group, which has no members, as soon as a Kafka that has just started coordinates groups."""
    places = [partition_of(kafka, place, offset) for place, offset in offsets.items()]
    admin, wanted = AdminClient(kafka.client), ConsumerGroupTopicPartitions(kafka.named(group), places)

    def accepted() -> bool:
        moved = admin.alter_consumer_group_offsets([wanted])[wanted.group_id].result(20)
        return all(partition.error is None for partition in moved.topic_partitions)

    wait_until(accepted, every=0.2)


def recreate_topic(kafka: Cluster, topic: str, partitions: int) -> None:
    """Delete a topic and make it again under its name, as soon as Kafka lets us."""
    admin, name = AdminClient(kafka.client), kafka.named(topic)
    admin.delete_topics([name])[name].result(20)

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(name, partitions, 1)])[name].result(20)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise
        return True

    wait_until(made)


def read_topic(
    kafka: Cluster, topic: str, *, until: Callable[[list[Stored]], bool], seconds: float = LIMIT, start: int = -2
) -> list[Stored]:
    """
    Return every record of the topic from its beginning, in the order of each partition, once `until` is satisfied.

    Fails if they do not arrive in time, with the number that did.
    """
    settings = {"group.id": f"reader-{uuid4()}", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
    consumer, name = Consumer(kafka.client | settings), kafka.named(topic)
    try:
        known = consumer.list_topics(name, timeout=10).topics[name].partitions
        consumer.assign([TopicPartition(name, number, start) for number in known])
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
