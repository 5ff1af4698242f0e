"""The relay's reaction to each refusal of Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from outbox.refusals import Hold, Isolate, Park, Resend, decide


def decided(code: int, *, alone: bool) -> tuple[type, str]:
    """Return the kind of the decision and its reason: decisions of two kinds with one reason are equal tuples."""
    decision = decide(KafkaError(code), alone=alone)
    return type(decision), decision.reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "topic_unknown"),
        (KafkaError._UNKNOWN_TOPIC, "topic_unknown"),
        (KafkaError._UNKNOWN_PARTITION, "topic_unknown"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "kafka_right_missing"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_topic_that_is_unknown_or_may_not_be_written_is_held(code: int, reason: str, *, alone: bool) -> None:
    assert decided(code, alone=alone) == (Hold, reason)


@pytest.mark.parametrize("alone", [True, False])
def test_an_event_of_a_topic_that_can_never_exist_is_parked_at_once(*, alone: bool) -> None:
    assert decided(KafkaError.TOPIC_EXCEPTION, alone=alone) == (Park, "topic_invalid")


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
    assert decided(code, alone=True) == (Park, reason)
    assert decided(code, alone=False) == (Isolate, reason)


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
    assert decided(code, alone=alone) == (Resend, reason)
