"""Topics as the settings require them, behind the test's own prefix, on a Kafka that others use too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # public, but for its stubs

from ops.doctor.kafka import check_kafka
from outbox import topics
from outbox.errors import BrokerError
from outbox.offsets import Offsets
from outbox.settings import TopicSettings
from runtime.settings import SettingsError
from schemas.topics import TOPICS, Topic
from tests.kafka import have_leaders, settings_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from runtime.kafka import Cluster

SERVERS: Final = "KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture(scope="module")
def cluster(kafka: Cluster) -> Cluster:
    done = topics.ensure(kafka, insync=1)
    assert done.created == [str(topic) for topic in TOPICS]
    wait_until(lambda: have_leaders(Offsets(kafka), TOPICS), every=0.2)
    return kafka


def test_each_topic_has_the_prefix_and_a_second_run_finds_it(cluster: Cluster) -> None:
    assert topics.ensure(cluster) == ([], [], [str(topic) for topic in TOPICS])
    admin = AdminClient(cluster.client)

    mine = {name for name in admin.list_topics(timeout=10).topics if name.startswith(cluster.prefix)}
    assert mine == {cluster.prefix + topic for topic in TOPICS}
    resource = ConfigResource(ResourceType.TOPIC, cluster.named(Topic.ALERTS))
    config = admin.describe_configs([resource])[resource].result(20)
    assert config["min.insync.replicas"].value == "1"
    assert config["min.insync.replicas"].source == 1, "set for the topic itself, not a default of the broker"
    assert config["message.timestamp.type"].value == "LogAppendTime", "the clock of a relay is of no account"


def test_a_system_with_another_prefix_sees_none_of_them(cluster: Cluster) -> None:
    other = cluster._replace(prefix=f"{cluster.prefix}other.")
    assert Offsets(cluster).spans([Topic.ALERTS])
    assert Offsets(other).spans([Topic.ALERTS]) == {}


def test_more_copies_than_brokers_are_refused_in_words(kafka: Cluster) -> None:
    with pytest.raises(BrokerError) as refused:
        topics.ensure(kafka._replace(prefix=f"{kafka.prefix}none."), replication=3)
    assert refused.value.reason == "topic_refused"
    assert "the cluster has 1 broker, and cannot keep 3 copies: KAFKA_REPLICATION_FACTOR is too large" in str(refused.value)


def test_the_doctor_names_topics_that_fall_short_of_the_settings(cluster: Cluster) -> None:
    environ = settings_of(cluster)
    found = [finding.text for finding in check_kafka(environ) if finding.area == "kafka"]
    assert f"all {len(TOPICS)} topics exist with their partitions, named {cluster.prefix}…" in found
    assert not any("copies" in text for text in found)
    wanted = {"KAFKA_REPLICATION_FACTOR": "3", "KAFKA_MIN_INSYNC_REPLICAS": "2"}
    short = [finding for finding in check_kafka(environ | wanted) if "copies" in finding.text]
    assert [finding.level for finding in short] == ["warn", "warn"]
    assert f"{sum(spec.partitions for spec in TOPICS.values())} partitions have fewer copies" in short[0].text
    assert cluster.named(Topic.ALERTS) in short[1].text


def test_settings_that_could_never_work_are_refused() -> None:
    for given, problem in {
        "2": "KAFKA_MIN_INSYNC_REPLICAS: is more than KAFKA_REPLICATION_FACTOR, so that no record would ever be acknowledged",
        "0": "KAFKA_MIN_INSYNC_REPLICAS: at least 1 is expected",
    }.items():
        with pytest.raises(SettingsError) as refused:
            TopicSettings.load({SERVERS: "kafka:9092", "KAFKA_MIN_INSYNC_REPLICAS": given})
        assert refused.value.problems == [problem]
    with pytest.raises(SettingsError) as refused:
        TopicSettings.load({SERVERS: "kafka:9092", "KAFKA_TOPIC_PREFIX": "a/b"})
    assert [each.partition(":")[0] for each in refused.value.problems] == ["KAFKA_TOPIC_PREFIX"]
