"""The rights on topics and groups that Kafka grants the user of a client, as the brokers report them."""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # public, but for its stubs

MISSING: Final = "kafka_right_missing"
"""The reason why a process waits: its user has not been granted a right that it needs."""
_LIMIT: Final = 3.0  # seconds; a cluster that has never had a group takes longer the first time

Granted = dict[str, frozenset[str]]
"""The granted operations by the name of the topic or group on the cluster; empty where the user may not even see it."""


def on_topics(admin: AdminClient, names: Iterable[str]) -> Granted:
    """
    Request the rights on these topics; topics that do not exist, or whose rights the brokers do not report, are left out.

    Blocks. Raises KafkaException or TimeoutError.
    """
    topics = TopicCollection([*names])
    return _held(admin.describe_topics(topics, include_authorized_operations=True, request_timeout=_LIMIT))


def on_groups(admin: AdminClient, names: Iterable[str]) -> Granted:
    """Request the rights on these consumer groups, which need not exist; otherwise like `on_topics`."""
    return _held(admin.describe_consumer_groups([*names], include_authorized_operations=True, request_timeout=_LIMIT))


def lacking(operation: str, held: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names on which the operation is not granted."""
    return sorted(name for name, operations in held.items() if operation not in operations)


def describe_missing(operation: str, kind: str, names: Collection[str]) -> str:
    """Return a sentence that names the right and the topics or groups on which it is missing."""
    return f"this user lacks the right {operation} on the {kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _held(asked: Mapping[str, Future[Any]]) -> Granted:
    found: Granted = {}
    for name, future in asked.items():
        try:
            granted = future.result(_LIMIT).authorized_operations
        except KafkaException as error:
            if "AUTHORIZATION_FAILED" not in error.args[0].name():
                if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                    continue
                raise
            granted = ()
        if granted is not None:
            found[name] = frozenset(AclOperation(each).name for each in granted)
    return found
