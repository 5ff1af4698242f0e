"""Creates the topics of `schemas.topics` before anything starts: Faust and the relay need them, with their partition counts."""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import timedelta
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from outbox.errors import BrokerError, Reason
from outbox.faults import Faults
from runtime.kafka import Cluster
from schemas.topics import TOPICS

_LIMIT: Final = 30.0
_TIMES: Final = {"message.timestamp.type": "LogAppendTime"}
"""Records get the broker's time: one with a relay's time could be refused, or be so old that it is deleted at once."""


class Ensured(NamedTuple):
    """The outcome of one run: names of topics."""

    created: list[str]
    grown: list[str]
    kept: list[str]


def ensure(kafka: Cluster, replication: int = 1, insync: int | None = None) -> Ensured:
    """
    Create the topics that are missing, and add partitions to those that have too few; never remove any.

    A new one has `replication` copies, of which `insync` must have a record before it is acknowledged; without `insync` the
    brokers' own setting applies. Raises BrokerError with reason `kafka_unavailable` or `topic_refused`.
    """
    faults = Faults()
    admin = AdminClient(faults.client(kafka) | {"socket.connection.setup.timeout.ms": 5000})
    try:
        known = admin.list_topics(timeout=_LIMIT)
    except KafkaException as error:
        raise BrokerError(Reason.KAFKA_UNAVAILABLE, faults.describe(kafka, admin, error)) from error
    there = {topic: len(known.topics[name].partitions) for topic in TOPICS if (name := kafka.named(topic)) in known.topics}
    missing = [topic for topic in TOPICS if topic not in there]
    short = {topic: TOPICS[topic].partitions for topic, number in there.items() if number < TOPICS[topic].partitions}
    if missing and replication > len(known.brokers):
        brokers = "1 broker" if len(known.brokers) == 1 else f"{len(known.brokers)} brokers"
        text = f"the cluster has {brokers}, and cannot keep {replication} copies: KAFKA_REPLICATION_FACTOR is too large"
        raise BrokerError(Reason.TOPIC_REFUSED, text)
    common = _TIMES | ({"min.insync.replicas": str(insync)} if insync else {})
    new = [
        NewTopic(kafka.named(t), spec.partitions, replication, config=common | {"retention.ms": _milliseconds(spec.retention)})
        for t, spec in TOPICS.items()
        if t in missing
    ]
    _await(admin.create_topics(new, operation_timeout=_LIMIT) if new else {})
    _await(admin.create_partitions([NewPartitions(kafka.named(t), n) for t, n in short.items()]) if short else {})
    changed = {*missing, *short}
    return Ensured([str(t) for t in missing], [str(t) for t in short], [str(t) for t in TOPICS if t not in changed])


def _await(futures: Mapping[str, Future[None]]) -> None:
    for topic, future in futures.items():
        try:
            future.result(_LIMIT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another `ensure` created it a moment ago
                raise BrokerError(Reason.TOPIC_REFUSED, f"Kafka refuses {topic}: {error.args[0].str()}") from error


def _milliseconds(period: timedelta) -> str:
    return str(int(period.total_seconds() * 1000))
