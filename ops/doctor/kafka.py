"""Kafka: whether it is there, holds every topic as it should be, and how far the workers have read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # public, but for its stubs

from ops.doctor import store
from ops.doctor.findings import fail, ok, one_line, warn
from ops.doctor.settings import address_in
from outbox.errors import BrokerError
from outbox.faults import Faults
from outbox.offsets import Offsets
from runtime.endpoints import check_database
from runtime.kafka import KafkaSettings
from runtime.settings import SettingsError
from schemas.topics import TOPICS, Topic
from schemas.topology import AGENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding
    from outbox.offsets import Look
    from runtime.kafka import Cluster

AREA: Final = "kafka"
WORKERS: Final = "workers"
_LIMIT: Final = 5.0
_LAG: Final = 10_000


def check_kafka(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        kafka = KafkaSettings.load(environ).kafka
    except SettingsError:
        return  # said among the settings
    servers, faults = kafka.servers, Faults()
    admin = AdminClient(faults.client(kafka) | {"socket.connection.setup.timeout.ms": 5000})
    try:
        known = admin.list_topics(timeout=_LIMIT)
    except KafkaException as error:
        text, settings = faults.explain(admin)
        act = f"start it, or mend {settings}; intake goes on, and the outbox keeps everything meanwhile"
        yield fail(AREA, f"{servers} does not answer: {text} ({error.args[0].str()})", act, "kafka-down")
        return
    yield ok(AREA, f"{servers} answers, {len(known.brokers)} brokers")
    there = {name: topic for name, topic in known.topics.items() if name in TOPICS}
    yield from _check_topics(there)
    yield from _check_replicas(there, len(known.brokers))
    yield from _check_configuration(admin, list(there))
    yield from _check_groups(kafka, wanted=_are_wanted(environ))


def _check_topics(there: Mapping[str, Any]) -> Iterator[Finding]:
    missing = [str(topic) for topic in TOPICS if topic not in there]
    short = [str(topic) for topic, spec in TOPICS.items() if topic in there and len(there[topic].partitions) < spec.partitions]
    act = "run `tallyhook topics ensure`"
    if missing:
        yield fail(AREA, f"topics are missing: {', '.join(missing)}", act, "outbox-backlog")
    if short:
        yield warn(AREA, f"topics have too few partitions: {', '.join(short)}", act, "scale-out")
    if not missing and not short:
        yield ok(AREA, f"all {len(TOPICS)} topics are there with their partitions")


def _check_replicas(there: Mapping[str, Any], brokers: int) -> Iterator[Finding]:
    partitions = [partition for topic in there.values() for partition in topic.partitions.values()]
    behind = sum(len(partition.isrs) < len(partition.replicas) for partition in partitions)
    leaderless = sum(partition.leader < 0 for partition in partitions)
    alone = sum(len(partition.replicas) == 1 for partition in partitions)
    if leaderless:
        yield fail(AREA, f"{leaderless} partitions have no leader", "bring back the broker that holds them", "kafka-down")
    if behind:
        yield warn(AREA, f"{behind} partitions have a replica that is behind", "see which broker is away", "kafka-down")
    if alone and brokers > 1:
        act = "`tallyhook topics ensure --replication 3` for new topics; kafka-reassign-partitions for these"
        yield warn(AREA, f"{alone} partitions are on one broker only", act, "scale-out")


def _check_configuration(admin: AdminClient, topics: list[str]) -> Iterator[Finding]:
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic) for topic in topics], request_timeout=_LIMIT)
    soon, thin = [], []
    try:
        for resource, future in asked.items():
            config = future.result(_LIMIT)
            kept = int(config["retention.ms"].value)
            if 0 <= kept < TOPICS[Topic(resource.name)].retention.total_seconds() * 1000:
                soon.append(resource.name)
            if config["cleanup.policy"].value != "delete":
                thin.append(resource.name)
    except (KafkaException, TimeoutError) as error:
        yield warn(
            AREA, f"it does not report the configuration of topics: {one_line(error)}", "give us the right DescribeConfigs"
        )
        return
    if soon:
        act = "raise retention.ms: a worker that is away for longer would miss events"
        yield warn(AREA, f"topics are kept for less time than they should be: {', '.join(soon)}", act, "scale-out")
    if thin:
        yield fail(AREA, f"topics are compacted and lose events: {', '.join(thin)}", "set cleanup.policy=delete", "kafka-down")


def _are_wanted(environ: Mapping[str, str]) -> bool:
    """True if Postgres shows a running system: only then is a missing worker a fault."""
    url = address_in(environ, "DATABASE_URL", check_database)
    try:
        with psycopg.connect(url or "", autocommit=True, connect_timeout=5, options=store.OPTIONS) as connection:
            return bool(url) and store.runs(connection)
    except psycopg.Error:
        return False


def _check_groups(kafka: Cluster, *, wanted: bool) -> Iterator[Finding]:
    workers = {agent.group: agent for agent in AGENTS.values() if agent.group}
    try:
        look = Offsets(kafka).look([topic for agent in workers.values() for topic in agent.consumes], list(workers))
    except BrokerError as error:
        yield warn(
            WORKERS,
            f"Kafka does not report how far they have read: {one_line(error)}",
            "see whether its brokers are healthy",
            "kafka-down",
        )
        return
    wanted = wanted or any(group.members for group in look.groups.values())
    for name, agent in workers.items():
        yield _check_group(look, name, agent.name, agent.consumes, wanted=wanted)


def _check_group(look: Look, name: str, role: str, topics: tuple[str, ...], *, wanted: bool) -> Finding:
    group = look.groups[name]
    behind = sum(span.lag(group.committed.get(place)) for place, span in look.spans.items() if place.topic in topics)
    if not group.members:
        act = f"start one with `tallyhook worker {role}`"
        text = f"no {role} worker runs: the group {name} has no members, {behind} events wait for it"
        return (fail if wanted or behind else warn)(WORKERS, text, act, "process-down")
    text = f"{role}: {len(group.members)} run, {group.state.replace('_', ' ')}, {behind} events behind"
    if behind > _LAG:
        return warn(WORKERS, text, "start more of the role, or see what it waits for", "worker-lag")
    return ok(WORKERS, text)
