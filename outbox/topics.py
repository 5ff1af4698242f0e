"""Creates every topic of `schemas.topics` before anything starts: Faust and the relay need it, with its partition count."""

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


class Ensured(NamedTuple):
    """The outcome of one run: names of topics."""

    created: list[str]
    grown: list[str]
    kept: list[str]


def ensure(kafka: Cluster, replication: int = 1) -> Ensured:
    """
    Create the topics that are missing, and add partitions to those that have too few; never remove any.

    Raises BrokerError with reason `kafka_unavailable` or `topic_refused`.
    """
    faults = Faults()
    admin = AdminClient(faults.client(kafka) | {"socket.connection.setup.timeout.ms": 5000})
    try:
        present = admin.list_topics(timeout=_LIMIT).topics
    except KafkaException as error:
        raise BrokerError(Reason.KAFKA_UNAVAILABLE, faults.describe(kafka, admin, error)) from error
    missing = [topic for topic in TOPICS if topic not in present]
    short = {t: s.partitions for t, s in TOPICS.items() if t in present and len(present[t].partitions) < s.partitions}
    new = [
        NewTopic(t, TOPICS[t].partitions, replication, config={"retention.ms": _milliseconds(TOPICS[t].retention)})
        for t in missing
    ]
    _await(admin.create_topics(new, operation_timeout=_LIMIT) if new else {})
    _await(admin.create_partitions([NewPartitions(str(t), n) for t, n in short.items()]) if short else {})
    changed = {*missing, *short}
    return Ensured([str(t) for t in missing], [str(t) for t in short], [str(t) for t in TOPICS if t not in changed])


def _await(futures: Mapping[str, Future[None]]) -> None:
    for topic, future in futures.items():
        try:
            future.result(_LIMIT)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another `ensure` was a moment earlier
                raise BrokerError(Reason.TOPIC_REFUSED, f"Kafka refuses {topic}: {error.args[0].str()}") from error


def _milliseconds(period: timedelta) -> str:
    return str(int(period.total_seconds() * 1000))
