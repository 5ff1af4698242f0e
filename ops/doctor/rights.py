"""The rights on topics and groups that Kafka grants the user of the doctor, beside those that the processes need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException

from ops.doctor.findings import fail, ok, one_line, warn
from outbox import rights
from schemas.topics import TOPICS
from schemas.topology import AGENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from confluent_kafka.admin import AdminClient

    from ops.doctor.findings import Finding
    from outbox.rights import Granted
    from runtime.kafka import Cluster

AREA: Final = "kafka"
_DESCRIBE: Final = "DESCRIBE"
_ACT: Final = "grant it, as docs/kafka.md lists the rights"


def check_rights(kafka: Cluster, admin: AdminClient) -> Generator[Finding, None, frozenset[str]]:
    """Compare the rights of this user with those that the processes need; return the topics that it may not see."""
    read = {topic for agent in AGENTS.values() if agent.group for topic in agent.consumes}
    groups = [kafka.named(agent.group) for agent in AGENTS.values() if agent.group]
    topics = yield from _granted("topics", lambda: rights.on_topics(admin, map(kafka.named, TOPICS)))
    of_groups = yield from _granted("groups", lambda: rights.on_groups(admin, groups))
    wanted = (
        ("topic", _DESCRIBE, topics),
        ("topic", "WRITE", topics),
        ("topic", "READ", topics and {name: held for name, held in topics.items() if kafka.ours(name) in read}),
        ("group", _DESCRIBE, of_groups),
        ("group", "READ", of_groups),
    )
    found = [finding for kind, operation, held in wanted if held for finding in judge(kind, operation, held)]
    yield from found
    if not found and topics is not None and of_groups is not None:
        yield ok(AREA, "this user may read and write every topic, and read every group")
    return frozenset(rights.lacking(_DESCRIBE, topics or {}))


def _granted(kind: str, request: Callable[[], Granted]) -> Generator[Finding, None, Granted | None]:
    """Return the rights, or None with a finding: the coordinator of groups may be silent while topics are answered."""
    try:
        return request()
    except (KafkaException, TimeoutError) as error:
        text = f"it does not report our rights on {kind}: {one_line(error)}"
        yield warn(AREA, text, "check whether its brokers are healthy", "kafka-down")
        return None


def judge(kind: str, operation: str, held: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Report missing rights: a user with the right on none of them may be meant to only look; one with it on some is a fault."""
    missing = rights.lacking(operation, held)
    if not missing:
        return
    if operation != _DESCRIBE and len(missing) == len(held):
        act = (
            "grant it, unless the processes that need it (docs/kafka.md) connect as another user: then run the doctor as that one"
        )
        yield warn(AREA, f"this user may {operation} no {kind}", act, "kafka-down")
    else:
        yield fail(AREA, rights.describe_missing(operation, kind, missing), _ACT, "kafka-down")
