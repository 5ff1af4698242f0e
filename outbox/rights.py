"""The rights on topics and groups that Kafka grants the user of a client, as the brokers tell them."""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # public, but for its stubs

MISSING: Final = "kafka_right_missing"
"""The reason of a process that waits until its user is granted what it lacks."""
_LIMIT: Final = 3.0  # seconds; a cluster that never had a group takes longer, once

Granted = dict[str, frozenset[str]]
"""The operations that are granted on each topic or group, by its name on the cluster; none where it may not even be seen."""


def on_topics(admin: AdminClient, names: Iterable[str]) -> Granted:
    """
    Ask for the rights on these topics; those that do not exist, or of which the brokers do not tell it, are left out.

    Blocks. Raises KafkaException or TimeoutError.
    """
    topics = TopicCollection([*names])
    return _held(admin.describe_topics(topics, include_authorized_operations=True, request_timeout=_LIMIT))


def on_groups(admin: AdminClient, names: Iterable[str]) -> Granted:
    """Ask for the rights on these consumer groups, which need not exist; otherwise as for topics."""
    return _held(admin.describe_consumer_groups([*names], include_authorized_operations=True, request_timeout=_LIMIT))


def lacking(operation: str, held: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names on which the operation is not granted."""
    return sorted(name for name, operations in held.items() if operation not in operations)


def told(operation: str, kind: str, names: Collection[str]) -> str:
    """Say in words that the right is missing on these topics or groups."""
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
