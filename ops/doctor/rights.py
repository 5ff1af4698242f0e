"""The rights on topics and groups that Kafka grants the user of the doctor, as the brokers tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient  # type: ignore[attr-defined]  # public, but for its stubs

from ops.doctor.findings import fail, ok, one_line, warn
from schemas.topics import TOPICS
from schemas.topology import AGENTS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from concurrent.futures import Future

    from ops.doctor.findings import Finding
    from runtime.kafka import Cluster

AREA: Final = "kafka"
_LIMIT: Final = 3.0  # seconds; a cluster that never had a group takes longer, once
_DESCRIBE: Final = "DESCRIBE"
_ACT: Final = "grant it, as docs/kafka.md lists the rights"

Held = dict[str, frozenset[str]]
"""The operations that are granted on each topic or group, by its name on the cluster; none where it may not even be seen."""


def check_rights(kafka: Cluster, admin: AdminClient) -> Generator[Finding, None, frozenset[str]]:
    """Compare what the user of these settings may do with what the processes have to; return the topics that it may not see."""
    read = {topic for agent in AGENTS.values() if agent.group for topic in agent.consumes}
    groups = [agent.group for agent in AGENTS.values() if agent.group]
    try:
        topics = _held(_asked_of_topics(kafka, admin))
        of_groups = _held(
            admin.describe_consumer_groups(
                [kafka.named(group) for group in groups], include_authorized_operations=True, request_timeout=_LIMIT
            )
        )
    except (KafkaException, TimeoutError) as error:
        yield warn(AREA, f"it does not report our rights: {one_line(error)}", "see whether its brokers are healthy", "kafka-down")
        return frozenset()
    wanted = (
        ("topic", _DESCRIBE, topics),
        ("topic", "WRITE", topics),
        ("topic", "READ", {name: held for name, held in topics.items() if kafka.ours(name) in read}),
        ("group", _DESCRIBE, of_groups),
        ("group", "READ", of_groups),
    )
    found = [finding for kind, operation, held in wanted for finding in judge(kind, operation, held)]
    yield from found or [ok(AREA, "this user may read and write every topic, and read every group")]
    return frozenset(name for name, held in topics.items() if _DESCRIBE not in held)


def judge(kind: str, operation: str, held: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """A right on none of them may be meant: that user only looks. A right on some of them alone is a fault."""
    missing = sorted(name for name, operations in held.items() if operation not in operations)
    if not missing:
        return
    if operation != _DESCRIBE and len(missing) == len(held):
        act = (
            "grant it, unless the processes that need it (docs/kafka.md) connect as another user: then ask the doctor as that one"
        )
        yield warn(AREA, f"this user may {operation} no {kind}", act, "kafka-down")
    else:
        names = ", ".join(missing)
        yield fail(AREA, f"this user lacks the right {operation} on the {kind}s {names}", _ACT, "kafka-down")


def _asked_of_topics(kafka: Cluster, admin: AdminClient) -> Mapping[str, Future[Any]]:
    names = TopicCollection([kafka.named(topic) for topic in TOPICS])
    return admin.describe_topics(names, include_authorized_operations=True, request_timeout=_LIMIT)


def _held(asked: Mapping[str, Future[Any]]) -> Held:
    found: Held = {}
    for name, future in asked.items():
        try:
            granted = future.result(_LIMIT).authorized_operations or ()
        except KafkaException as error:
            if "AUTHORIZATION_FAILED" not in error.args[0].name():
                if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                    continue  # said among the topics
                raise
            granted = ()
        found[name] = frozenset(AclOperation(each).name for each in granted)
    return found
