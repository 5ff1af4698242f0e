"""The relay's reaction to each refusal of Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from outbox.refusals import Hold, Isolate, Park, Resend, decide


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "topic_unknown"),
        (KafkaError._UNKNOWN_TOPIC, "topic_unknown"),
        (KafkaError._UNKNOWN_PARTITION, "topic_unknown"),
        (KafkaError.TOPIC_EXCEPTION, "topic_invalid"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_refusal_of_the_topic_parks_at_once(code: int, reason: str, *, alone: bool) -> None:
    assert decide(KafkaError(code), alone=alone) == Park(reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, "record_too_large"),
        (KafkaError.RECORD_LIST_TOO_LARGE, "record_too_large"),
        (KafkaError.INVALID_RECORD, "record_invalid"),
        (KafkaError.INVALID_MSG, "record_invalid"),
        (KafkaError.POLICY_VIOLATION, "record_invalid"),
    ],
)
def test_a_refusal_of_a_record_parks_it_only_when_it_was_alone(code: int, reason: str) -> None:
    assert decide(KafkaError(code), alone=True) == Park(reason)
    assert decide(KafkaError(code), alone=False) == Isolate(reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError._TRANSPORT, "transport"),
        (KafkaError._ALL_BROKERS_DOWN, "all_brokers_down"),
        (KafkaError._PURGE_QUEUE, "purge_queue"),
        (KafkaError._TIMED_OUT, "timed_out"),
        (KafkaError.NOT_LEADER_FOR_PARTITION, "not_leader_for_partition"),
        (KafkaError.NOT_ENOUGH_REPLICAS, "not_enough_replicas"),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out_of_order_sequence_number"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "cluster_authorization_failed"),
        (KafkaError.UNKNOWN, "unknown"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_any_other_refusal_is_sent_again(code: int, reason: str, *, alone: bool) -> None:
    assert decide(KafkaError(code), alone=alone) == Resend(reason)


@pytest.mark.parametrize("alone", [True, False])
def test_a_topic_without_the_right_to_write_is_held(*, alone: bool) -> None:
    assert decide(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), alone=alone) == Hold("kafka_right_missing")
