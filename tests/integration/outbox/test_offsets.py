"""Offsets and groups as Kafka reports them: exact, of existing and missing topics and groups, and with a time limit."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from outbox.errors import BrokerError
from outbox.offsets import Offsets, Place, Span
from runtime.kafka import Cluster
from tests.kafka import make_topic
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection


@pytest.fixture(scope="module")
def offsets(kafka: Cluster) -> Offsets:
    return Offsets(kafka)


def produce(kafka: Cluster, topic: str, numbers: dict[int, int], at: datetime | None = None) -> None:
    """Produce the given number of records to each partition."""
    producer = Producer(kafka.client)
    stamp = int((at or datetime.now(UTC)).timestamp() * 1000)
    for partition, number in numbers.items():
        for n in range(number):
            producer.produce(kafka.named(topic), f"{n}", partition=partition, timestamp=stamp)
    assert producer.flush(20) == 0


def commit(kafka: Cluster, group: str, topic: str, partition: int, offset: int) -> None:
    consumer = Consumer(kafka.client | {"group.id": kafka.named(group)})
    consumer.commit(offsets=[TopicPartition(kafka.named(topic), partition, offset)], asynchronous=False)
    consumer.close()


def test_spans_and_lag_are_exact_with_and_without_a_commit(kafka: Cluster, offsets: Offsets) -> None:
    topic, group = make_topic(kafka, partitions=3), f"g-{uuid4().hex[:8]}"
    produce(kafka, topic, {0: 5, 2: 7})
    commit(kafka, group, topic, 2, 4)
    spans, groups = offsets.look([topic, "topic-of-nobody"], [group])
    assert spans == {Place(topic, 0): Span(0, 5), Place(topic, 1): Span(0, 0), Place(topic, 2): Span(0, 7)}
    assert groups[group].committed == {Place(topic, 2): 4}
    lags = [span.lag(groups[group].committed.get(place)) for place, span in spans.items()]
    assert lags == [5, 0, 3]
    assert (groups[group].state, groups[group].live) == ("empty", False)


def test_a_commit_before_the_first_kept_record_counts_the_records_that_exist() -> None:
    assert Span(10, 30).lag(3) == 20
    assert Span(10, 30).lag(40) == 0
    assert Span(10, 30).lag(None) == 20


def test_an_offset_committed_during_the_request_lies_within_the_log(kafka: Cluster) -> None:
    """Otherwise a busy worker would look like one whose log has lost its end."""
    topic, group = make_topic(kafka, partitions=1), f"g-{uuid4().hex[:8]}"
    produce(kafka, topic, {0: 3})

    class Busy(Offsets):
        """The worker reads and commits more just before its commits are read."""

        def _committed(self, name: str, places: Collection[Place]) -> dict[Place, int]:
            produce(kafka, topic, {0: 4})
            commit(kafka, group, topic, 0, 7)
            return super()._committed(name, places)

    look = Busy(kafka).look([topic], [group])
    assert look.groups[group].committed == {Place(topic, 0): 7}
    assert look.spans == {Place(topic, 0): Span(0, 7)}


def test_an_unknown_group_is_dead(offsets: Offsets) -> None:
    group = offsets.group(f"g-{uuid4()}")
    assert (group.state, group.live, group.members, group.committed) == ("dead", False, (), {})


def _joined(member: Consumer) -> bool:
    member.poll(0.05)
    return bool(member.assignment())


def test_a_live_group_shows_its_members_and_the_partitions_of_each(kafka: Cluster, offsets: Offsets) -> None:
    topic, group = make_topic(kafka, partitions=3), f"g-{uuid4().hex[:8]}"
    member = Consumer(kafka.client | {"group.id": kafka.named(group), "client.id": "reader-one"})
    try:
        member.subscribe([kafka.named(topic)])
        wait_until(lambda: _joined(member))
        found = offsets.group(group)
        assert (found.state, found.live) == ("stable", True)
        [found_member] = found.members
        assert (found_member.client, found_member.host) == ("reader-one", "127.0.0.1")
        assert found_member.places == tuple(Place(topic, n) for n in range(3))
    finally:
        member.close()


def test_a_moment_is_an_offset_in_each_partition(kafka: Cluster, offsets: Offsets) -> None:
    topic, now = make_topic(kafka, partitions=2), datetime.now(UTC)
    produce(kafka, topic, {0: 3}, at=now - timedelta(hours=2))
    produce(kafka, topic, {0: 4}, at=now)
    assert offsets.at(now - timedelta(hours=1), [topic]) == {Place(topic, 0): 3, Place(topic, 1): 0}
    assert offsets.at(now + timedelta(hours=1), [topic]) == {Place(topic, 0): 7, Place(topic, 1): 0}


def test_a_kafka_that_is_away_is_an_error_within_the_limit() -> None:
    started = time.monotonic()
    with pytest.raises(BrokerError) as caught:
        Offsets(Cluster("127.0.0.1:1"), timedelta(seconds=1)).look(["webhooks.stripe"], ["tallyhook-payments"])
    assert caught.value.reason == "kafka_unavailable"
    with pytest.raises(BrokerError, match="does not answer"):
        Offsets(Cluster("127.0.0.1:1"), timedelta(seconds=1)).group("tallyhook-payments")
    assert time.monotonic() - started < 60  # without a limit, librdkafka keeps retrying
