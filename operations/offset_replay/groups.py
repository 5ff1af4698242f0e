"""Moving what a group has committed; `outbox.offsets` reads it."""

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from operations.errors import OperationError, Reason
from outbox.errors import BrokerError
from outbox.errors import Reason as BrokerReason
from outbox.offsets import Place, partition_of
from runtime.kafka import Cluster

_LIMIT: Final = 15.0  # seconds
_LIVE: Final = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.GROUP_SUBSCRIBED_TO_TOPIC}


def move(kafka: Cluster, group: str, offsets: Mapping[Place, int]) -> None:
    """
    Let the group continue at these offsets. Kafka refuses it while the group has members, however short the time since we looked.

    Raises OperationError with reason `group_live`, and BrokerError.
    """
    admin = AdminClient(kafka.client | {"log_level": 0})
    places = [partition_of(kafka, place, offset) for place, offset in offsets.items()]
    wanted = ConsumerGroupTopicPartitions(kafka.named(group), places)
    future: Any = admin.alter_consumer_group_offsets([wanted], request_timeout=_LIMIT)[wanted.group_id]
    try:
        moved = future.result(_LIMIT)
    except KafkaException as error:
        raise _refusal(group, error.args[0]) from error
    except FutureTimeout as error:
        raise BrokerError(BrokerReason.KAFKA_UNAVAILABLE, f"Kafka has not moved {group} in {_LIMIT:g} s") from error
    for partition in moved.topic_partitions:
        if partition.error is not None:
            raise _refusal(group, partition.error)


def _refusal(group: str, error: KafkaError) -> OperationError | BrokerError:
    if error.code() in _LIVE:
        return OperationError(Reason.GROUP_LIVE, f"{group} got members this moment: stop its workers, and begin again")
    return BrokerError(BrokerReason.KAFKA_REFUSED, f"Kafka does not move {group}: {error.str()}")
