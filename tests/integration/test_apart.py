"""No test module sees data of another one on the session's servers, whichever ran first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
import requests
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka import make_topic, names_on, unprefixed_names
from tests.waiting import wait_until

if TYPE_CHECKING:
    from runtime.kafka import Cluster


@pytest.mark.parametrize("test", ["first", "second"])
def test_data_of_a_test_in_redis_and_elasticsearch_is_gone_for_the_next(
    redis_server: str, elasticsearch_server: str, test: str
) -> None:
    with redis.Redis.from_url(redis_server) as client:
        assert client.dbsize() == 0
        client.set(test, "left")
    assert requests.get(f"{elasticsearch_server}/_cat/indices?format=json", timeout=20).json() == []
    requests.put(f"{elasticsearch_server}/left", timeout=20).raise_for_status()


def test_a_topic_or_a_group_without_the_prefix_of_its_module_is_found(kafka: Cluster) -> None:
    topic, group = f"stray-{kafka.prefix}topic", f"stray-{kafka.prefix}group"
    before, admin, mine = names_on(kafka), AdminClient(kafka.client), make_topic(kafka)
    _commit(kafka, kafka.named("tallyhook-test"), mine)
    assert unprefixed_names(kafka, before) == set()
    _commit(kafka, group, mine)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    wait_until(lambda: unprefixed_names(kafka, before) == {topic, group})
    admin.delete_topics([topic])[topic].result(20)
    admin.delete_consumer_groups([group])[group].result(20)
    wait_until(lambda: unprefixed_names(kafka, before) == set())


def _commit(kafka: Cluster, group: str, topic: str) -> None:
    consumer = Consumer(kafka.client | {"group.id": group})
    consumer.commit(offsets=[TopicPartition(kafka.named(topic), 0, 0)], asynchronous=False)
    consumer.close()
