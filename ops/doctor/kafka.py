"""Examines Kafka: whether it answers, has every topic with the right settings, and how far the workers have read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # public, but for its stubs

from gateway.settings import GatewaySettings
from ops.doctor import store
from ops.doctor.findings import fail, ok, one_line, warn
from ops.doctor.rights import check_rights
from ops.doctor.settings import address_in
from outbox.errors import BrokerError
from outbox.faults import Faults
from outbox.offsets import Offsets, Span
from outbox.settings import TopicSettings
from runtime.endpoints import check_database
from runtime.sessions import connect
from runtime.settings import SettingsError
from schemas.providers import NAMES
from schemas.topics import TOPICS, Topic, webhooks_of
from schemas.topology import AGENTS, group_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding
    from outbox.offsets import BrokerState, Place
    from runtime.kafka import Cluster
    from schemas.topics import TopicSpec
    from schemas.topology import Agent

AREA: Final = "kafka"
WORKERS: Final = "workers"
_OF_BODIES: Final = (*(webhooks_of(name) for name in NAMES), Topic.PARTNER_LEADS, Topic.PROPERTIES)
"""The topics of events that hold a body as the gateway has received it."""
_AROUND: Final = 4096
"""Bytes of a record beside the body: its headers and its key."""
_LIMIT: Final = 5.0
_LAG: Final = 10_000
_OLD: Final = timedelta(minutes=5)
"""Events that wait for longer are not handled, or more slowly than they come."""


def check_kafka(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        settings = TopicSettings.load(environ)
    except SettingsError:
        return  # reported among the settings
    kafka, faults = settings.kafka, Faults()
    servers = kafka.servers
    admin = AdminClient(faults.client(kafka) | {"socket.connection.setup.timeout.ms": 5000})
    try:
        known = admin.list_topics(timeout=_LIMIT)
    except KafkaException as error:
        text, names = faults.explain(kafka, admin)
        act = f"start it, or correct {names}; intake goes on, and the outbox keeps everything meanwhile"
        yield fail(AREA, f"{servers} does not answer: {text} ({error.args[0].str()})", act, "kafka-down")
        return
    yield ok(AREA, f"{servers} answers, {len(known.brokers)} brokers")
    there = {topic: known.topics[name] for topic in TOPICS if (name := kafka.named(topic)) in known.topics}
    hidden = yield from check_rights(kafka, admin)
    yield from _check_topics(kafka, there, hidden)
    yield from _check_replicas(there, settings.kafka_replication_factor, len(known.brokers))
    if there:
        largest = GatewaySettings.value("MAX_BODY_BYTES", GatewaySettings.given(environ)) or 0
        yield from _check_configuration(kafka, admin, list(there), settings.kafka_min_insync_replicas, largest)
    yield from _check_groups(kafka, wanted=_are_wanted(environ))


def _check_topics(kafka: Cluster, there: Mapping[Topic, Any], hidden: frozenset[str]) -> Iterator[Finding]:
    missing = [kafka.named(topic) for topic in TOPICS if topic not in there and kafka.named(topic) not in hidden]
    short = [kafka.named(topic) for topic, found in there.items() if len(found.partitions) < TOPICS[topic].partitions]
    act = "run `tallyhook topics ensure`"
    if missing:
        yield fail(AREA, f"topics are missing: {', '.join(missing)}", act, "outbox-backlog")
    if short:
        yield warn(AREA, f"topics have too few partitions: {', '.join(short)}", act, "scale-out")
    if not missing and not short and not hidden:
        begin = f", named {kafka.prefix}…" if kafka.prefix else ""
        yield ok(AREA, f"all {len(TOPICS)} topics exist with their partitions{begin}")


def _check_replicas(there: Mapping[Topic, Any], copies: int, brokers: int) -> Iterator[Finding]:
    partitions = [partition for topic in there.values() for partition in topic.partitions.values()]
    behind = sum(len(partition.isrs) < len(partition.replicas) for partition in partitions)
    leaderless = sum(partition.leader < 0 for partition in partitions)
    few = sum(len(partition.replicas) < copies for partition in partitions)
    alone = sum(len(partition.replicas) == 1 for partition in partitions)
    if leaderless:
        yield fail(AREA, f"{leaderless} partitions have no leader", "bring back the broker that holds them", "kafka-down")
    if behind:
        yield warn(AREA, f"{behind} partitions have a replica that is behind", "see which broker is away", "kafka-down")
    act = "set KAFKA_REPLICATION_FACTOR for new topics, and use kafka-reassign-partitions for these"
    if few:
        yield warn(AREA, f"{few} partitions have fewer copies than KAFKA_REPLICATION_FACTOR, {copies}", act, "scale-out")
    elif alone and brokers > 1:
        yield warn(AREA, f"{alone} partitions are on one broker only", act, "scale-out")


def _check_configuration(
    kafka: Cluster, admin: AdminClient, topics: list[Topic], insync: int | None, largest: int
) -> Iterator[Finding]:
    resources = [ConfigResource(ResourceType.TOPIC, kafka.named(topic)) for topic in topics]
    requested = admin.describe_configs(resources, request_timeout=_LIMIT)
    try:
        found = {resource.name: future.result(_LIMIT) for resource, future in requested.items()}
    except (KafkaException, TimeoutError) as error:
        yield warn(
            AREA,
            f"it does not report the configuration of topics: {one_line(error)}",
            "grant this user the right DescribeConfigs",
        )
        return
    soon = [name for name, config in found.items() if _is_kept_too_short(TOPICS[Topic(kafka.ours(name))], config)]
    weak = [name for name, config in found.items() if int(config["min.insync.replicas"].value) < (insync or 0)]
    thin = [name for name, config in found.items() if config["cleanup.policy"].value != "delete"]
    stamped = [name for name, config in found.items() if config["message.timestamp.type"].value != "LogAppendTime"]
    if soon:
        act = "raise retention.ms: a worker that is away for longer would miss events"
        yield warn(AREA, f"topics are kept for less time than they should be: {', '.join(soon)}", act, "scale-out")
    if weak:
        act = f"set their min.insync.replicas to {insync}: kafka-configs --alter"
        yield warn(
            AREA, f"topics acknowledge with fewer copies than KAFKA_MIN_INSYNC_REPLICAS: {', '.join(weak)}", act, "scale-out"
        )
    yield from _check_sizes(
        {Topic(kafka.ours(name)): int(config["max.message.bytes"].value) for name, config in found.items()}, largest
    )
    if stamped:
        change = f"kafka-configs --bootstrap-server {kafka.servers} --alter --topic {stamped[0]} --add-config"
        act = f"for each of them: `{change} message.timestamp.type=LogAppendTime`"
        text = f"topics keep the time of the relay, whose clock may be wrong, instead of the broker's: {', '.join(stamped)}"
        yield warn(AREA, text, act, "clock")
    if thin:
        yield fail(AREA, f"topics are compacted and lose events: {', '.join(thin)}", "set cleanup.policy=delete", "kafka-down")


def _check_sizes(limits: Mapping[Topic, int], largest: int) -> Iterator[Finding]:
    """Compare the topics' limits with the largest body: the relay parks an event that its topic does not take."""
    needed = dict.fromkeys(_OF_BODIES, largest + _AROUND) | {Topic.DEAD_LETTERS: largest * 4 // 3 + _AROUND}
    small = [topic for topic, size in needed.items() if limits.get(topic, size) < size]
    if small:
        act = f"raise max.message.bytes of each to {max(needed[topic] for topic in small)} at least, or lower MAX_BODY_BYTES"
        text = f"topics take no record with a body of MAX_BODY_BYTES, {largest}: {', '.join(small)}"
        yield warn(AREA, text, act, "outbox-backlog")


def _is_kept_too_short(wanted: TopicSpec, config: Mapping[str, Any]) -> bool:
    return 0 <= int(config["retention.ms"].value) < wanted.retention.total_seconds() * 1000


def _are_wanted(environ: Mapping[str, str]) -> bool:
    """True if Postgres shows a running system: only then is a missing worker a fault."""
    url = address_in(environ, "DATABASE_URL", check_database)
    try:
        with connect(url or "", name="doctor", statement=store.LIMIT) as connection:
            return bool(url) and store.runs(connection)
    except psycopg.Error:
        return False


def _check_groups(kafka: Cluster, *, wanted: bool) -> Iterator[Finding]:
    workers = {agent.group: agent for agent in AGENTS.values() if agent.group}
    try:
        topics, offsets = [topic for agent in workers.values() for topic in agent.consumes], Offsets(kafka)
        old = offsets.at(datetime.now(UTC) - _OLD, topics)  # read before the commits: a younger event is no fault
        look = offsets.look(topics, list(workers))
    except BrokerError as error:
        yield warn(
            WORKERS,
            f"Kafka does not report how far they have read: {one_line(error)}",
            "check whether its brokers are healthy",
            "kafka-down",
        )
        return
    wanted = wanted or any(group.members for group in look.groups.values())
    for agent in workers.values():
        yield _check_group(kafka, look, old, agent, wanted=wanted)


def _check_group(kafka: Cluster, look: BrokerState, old: Mapping[Place, int], agent: Agent, *, wanted: bool) -> Finding:
    role, group = agent.name, look.groups[group_of(agent.name)]
    spans = {place: span for place, span in look.spans.items() if place.topic in agent.consumes}
    behind = sum(span.lag(group.committed.get(place)) for place, span in spans.items())
    late = sum(Span(span.begin, old.get(place, span.begin)).lag(group.committed.get(place)) for place, span in spans.items())
    if not group.members:
        act = f"start one with `tallyhook worker {role}`"
        text = f"no {role} worker runs: the group {kafka.named(group.name)} has no members, {behind} events wait for it"
        return (fail if wanted or behind else warn)(WORKERS, text, act, "process-down")
    text = f"{role}: {len(group.members)} run, {group.state.replace('_', ' ')}, {behind} events behind"
    if late:
        act = "read in its log what it waits for (`worker_waiting`)"
        return fail(WORKERS, f"{text}, {late} of them for more than {_OLD.total_seconds() / 60:.0f} min", act, "worker-lag")
    if behind > _LAG:
        return warn(WORKERS, text, "start more workers of the role, or find out what they wait for", "worker-lag")
    return ok(WORKERS, text)
