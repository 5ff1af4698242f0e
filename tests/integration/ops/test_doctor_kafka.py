"""The doctor on a real broker: topics, rights, and missing workers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but for its stubs
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from ops.doctor import kafka as kafka_examination
from ops.doctor.findings import ok
from ops.doctor.kafka import check_kafka
from outbox import rights
from schemas.topics import TOPICS, TopicSpec
from tests.findings import of, texts
from tests.kafka import settings_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from runtime.kafka import Cluster

    ClosedPorts: TypeAlias = Callable[[], dict[str, str]]


def test_brokers_that_enforce_no_rights_grant_all_of_them(kafka_topics: Cluster) -> None:
    granted = ok("kafka", "this user may read and write every topic, and read every group")
    wait_until(lambda: granted in [*check_kafka(settings_of(kafka_topics))])  # the first group needs some time


def test_topics_that_are_missing_too_small_or_kept_too_short_are_reported(
    kafka_topics: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {
        **TOPICS,
        "never.made": TopicSpec(1, timedelta(days=1)),
        "webhooks.stripe": TopicSpec(64, TOPICS["webhooks.stripe"].retention),
        "alert.events": TopicSpec(1, timedelta(days=3650)),
    }
    monkeypatch.setattr(kafka_examination, "TOPICS", wanted)
    found = list(check_kafka(settings_of(kafka_topics)))
    [missing] = of(found, "kafka", "fail")
    assert "never.made" in missing.text
    assert "tallyhook topics ensure" in missing.act
    few, short = of(found, "kafka", "warn")
    assert ("webhooks.stripe" in few.text, "alert.events" in short.text) == (True, True)


def test_a_largest_body_that_no_topic_takes_is_reported(kafka_topics: Cluster) -> None:
    for size, reported in (("262144", False), ("4000000", True), ("four", False)):
        found = texts([*check_kafka(settings_of(kafka_topics) | {"MAX_BODY_BYTES": size})])
        assert ("no record with a body of MAX_BODY_BYTES" in found) is reported


def test_topics_with_the_timestamps_of_the_relay_are_reported_with_the_way_to_change_them(kafka_topics: Cluster) -> None:
    assert "time of the relay" not in texts([*check_kafka(settings_of(kafka_topics))])
    admin = AdminClient(kafka_topics.client)

    def stamp(by: str) -> None:
        entry = ConfigEntry("message.timestamp.type", by, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, kafka_topics.named("alert.events"), incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)

    stamp("CreateTime")
    try:
        [found] = of([*check_kafka(settings_of(kafka_topics))], "kafka", "warn")
        alerts = kafka_topics.named("alert.events")
        assert found.text.endswith(f"instead of the broker's: {alerts}")
        assert f"--alter --topic {alerts} --add-config message.timestamp.type=LogAppendTime" in found.act
    finally:
        stamp("LogAppendTime")


def test_rights_on_topics_are_reported_while_the_group_coordinator_is_silent(
    kafka_topics: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> rights.Granted:
        raise TimeoutError

    read, other = map(kafka_topics.named, ("webhooks.stripe", "cache.commands"))
    monkeypatch.setattr(rights, "on_groups", silent)
    monkeypatch.setattr(rights, "on_topics", lambda *_: {read: frozenset({"READ"}), other: frozenset()})
    found = [*check_kafka(settings_of(kafka_topics))]
    assert "it does not report our rights on groups: TimeoutError" in texts(of(found, "kafka", "warn"))
    assert f"this user lacks the right READ on the topic {other}" in texts(of(found, "kafka", "fail"))


def test_a_role_without_a_worker_is_reported(kafka_topics: Cluster) -> None:
    found = list(check_kafka(settings_of(kafka_topics)))
    assert "no payments worker runs" in texts(of(found, "workers", "warn"))
