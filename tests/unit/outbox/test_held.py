"""Rows of a topic that Kafka does not accept for now are held back, and none of them overtakes another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from outbox import held
from outbox.held import RETRY, UNKNOWN, UNKNOWN_MAX, HeldTopics
from outbox.relay_store import PendingRow
from outbox.rights import MISSING
from runtime.ids import new_id
from runtime.kafka import Cluster
from schemas.envelope import Event


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(held, "now", clock)
    return clock


def row(number: int, topic: str) -> PendingRow:
    fields: dict[str, Any] = dict.fromkeys(("aggregate_type", "aggregate_id", "source", "type", "dataschema", "traceparent"), "-")
    return PendingRow(number, Event(id=new_id(), topic=topic, occurred_at=datetime.now(UTC), data=b"{}", **fields))


ROWS = [row(1, "allowed"), row(2, "forbidden"), row(3, "allowed"), row(4, "forbidden")]


def ids(rows: list[PendingRow]) -> list[int]:
    return [each.id for each in rows]


def test_without_a_refusal_everything_passes(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    clock.now += 2 * RETRY
    assert ids(held_now.sift(ROWS)) == [1, 2, 3, 4]
    assert (held_now.ids, held_now.due) == ([], False)


def test_a_refused_topic_is_held_until_the_next_try_and_the_others_pass(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("forbidden", MISSING)
    assert ids(held_now.sift(ROWS)) == [1, 3]
    assert held_now.ids == [2, 4]
    clock.now += RETRY - 1
    assert not held_now.due
    assert ids(held_now.sift([row(5, "forbidden"), row(6, "allowed")])) == [6]
    clock.now += 1
    assert held_now.due
    assert (held_now.begin_try(), held_now.due) == (1, False)
    assert held_now.ids == [4, 5]
    held_now.release("forbidden")
    assert ids(held_now.sift(ROWS)) == [1, 2, 3, 4]


def test_a_try_is_of_the_oldest_row_of_each_topic(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("forbidden", MISSING)
    clock.now += RETRY - 1
    held_now.hold("another", MISSING)
    held_now.sift([row(4, "forbidden"), row(6, "another"), row(2, "forbidden")])
    clock.now += 1
    assert held_now.due
    assert held_now.begin_try() == 2
    assert held_now.ids == [4]
    assert ids(held_now.oldest([row(1, "allowed"), row(2, "forbidden"), row(4, "forbidden"), row(6, "another")])) == [2, 6]


def test_a_row_whose_try_was_refused_is_the_oldest_again(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("forbidden", MISSING)
    held_now.sift(ROWS)
    clock.now += RETRY
    held_now.begin_try()
    held_now.hold("forbidden", MISSING)
    held_now.sift(ROWS[:2])
    clock.now += RETRY
    held_now.begin_try()
    assert held_now.ids == [4]


def test_when_shards_change_hands_the_topic_stays_held_and_its_rows_are_read_again(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("forbidden", MISSING)
    held_now.sift(ROWS)
    held_now.forget_rows()
    clock.now += RETRY
    assert (held_now.ids, held_now.due) == ([], False)
    assert ids(held_now.sift(ROWS)) == [1, 3]


def test_each_try_logs_once_which_right_is_missing_by_the_name_on_the_cluster(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092", prefix="acme."))
    with capture_logs() as lines:
        for _ in range(3):
            held_now.hold("forbidden", MISSING)
        clock.now += RETRY
        held_now.begin_try()
        held_now.hold("forbidden", MISSING)
    assert [(line["reason"], line["error"]) for line in lines] == 2 * [
        ("kafka_right_missing", "this user lacks the right WRITE on the topic acme.forbidden")
    ]


def test_a_topic_that_kafka_does_not_know_is_held_for_a_minute_and_no_longer(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092", prefix="acme."))
    with capture_logs() as lines:
        assert held_now.hold("gone", UNKNOWN)
        assert ids(held_now.sift([row(1, "gone"), row(2, "allowed")])) == [2]
        for _ in range(tries := int(UNKNOWN_MAX / RETRY) - 1):
            clock.now += RETRY
            held_now.begin_try()
            assert held_now.hold("gone", UNKNOWN)
    assert [(line["event"], line["reason"], line["error"]) for line in lines] == (1 + tries) * [
        ("topic_held", "topic_unknown", "Kafka does not know the topic acme.gone")
    ]
    clock.now += RETRY
    assert not held_now.hold("gone", UNKNOWN)
    assert (ids(held_now.sift([row(1, "gone")])), held_now.ids) == ([1], [])
    assert not held_now.hold("gone", UNKNOWN)
    assert held_now.hold("forbidden", MISSING)


def test_once_kafka_has_accepted_a_row_its_topic_may_be_unknown_for_a_minute_again(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("gone", UNKNOWN)
    clock.now += 2 * RETRY
    held_now.hold("gone", UNKNOWN)
    held_now.release("gone")
    clock.now += UNKNOWN_MAX - 2 * RETRY
    assert held_now.hold("gone", UNKNOWN)


def test_two_moments_in_which_kafka_does_not_know_a_topic_are_no_minute(clock: Clock) -> None:
    held_now = HeldTopics(Cluster("kafka:9092"))
    assert held_now.hold("gone", UNKNOWN)
    clock.now += UNKNOWN_MAX  # meanwhile its leader was away, for which rows are sent again
    assert held_now.hold("gone", UNKNOWN)


@pytest.mark.usefixtures("clock")
def test_the_number_of_held_rows_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_ROWS_MAX", 2)
    held_now = HeldTopics(Cluster("kafka:9092"))
    held_now.hold("forbidden", MISSING)
    assert not held_now.full
    held_now.sift(ROWS)
    assert held_now.full
