"""The topology as a record: the declared graph, joined with Kafka's figures by a pure function."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from outbox.offsets import BrokerState, Group, Place, Span
from schemas.topics import TOPICS, Topic
from schemas.topology import AGENTS, Agent, Edge, Kind, Tie, edges


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Fields on the wire are in camelCase; unknown values are left out."""


class Kafka(_Record, frozen=True):
    """The broker's answer; without it the topology is the declared one, without offsets."""

    live: bool  #: True if the broker answered.
    reason: str | None = None  #: Why it did not; absent otherwise.
    detail: str | None = None  #: The error in words.
    prefix: str | None = None  #: The beginning of every topic's and group's name on the broker, which is left out here.


class Member(_Record, frozen=True):
    """A process of a worker, as the coordinator of the consumer group reports it."""

    id: str  #: The id of the member.
    client: str  #: The client id.
    host: str  #: The host of the client.
    partitions: dict[str, list[int]]  #: The numbers of its partitions, by topic.


class GroupView(_Record, frozen=True):
    """The consumer group of a worker role."""

    name: str  #: The name of the group.
    members: list[Member]  #: Its members.
    state: str | None = None  #: Kafka's word: `stable`, `empty`, `preparing_rebalancing`, `completing_rebalancing` or `dead`.
    lag: int | None = None  #: Records that the group has not read, over all partitions.


class AgentView(_Record, frozen=True):
    """A process that reads or writes topics, or a system that one reaches."""

    name: str  #: The name.
    title: str  #: The name for people.
    kind: Kind  #: The kind of agent; `outside` agents belong to others.
    consumes: list[str]  #: The topics that it reads.
    produces: list[str]  #: The topics that its events go to, through the outbox and the relay.
    feeds: list[str]  #: The agents that it reaches without Kafka.
    group: GroupView | None = None  #: The consumer group; absent if it reads no topic.


class TopicView(_Record, frozen=True):
    """A topic; its number of partitions is the broker's, or the declared one without an answer."""

    name: str  #: The name.
    partitions: int  #: Number of partitions.
    retention_days: int  #: Days for which Kafka keeps a record.
    missing: bool = False  #: True if the broker does not have the topic; `tallyhook topics ensure` creates it.
    records: int | None = None  #: Number of records that it holds.
    end: int | None = None  #: Number of records that it ever got.
    lag: int | None = None  #: Records that its slowest reader has not read.


class Reader(_Record, frozen=True):
    """The progress of an agent in a partition."""

    agent: str  #: The name of the agent.
    lag: int  #: Records that it has not read.
    committed: int | None = None  #: The committed offset; absent if it has committed none.
    member: str | None = None  #: The id of the group's member that has the partition.


class PartitionView(_Record, frozen=True):
    """A partition and the progress of its readers."""

    topic: str  #: The topic.
    partition: int  #: The number of the partition.
    begin: int  #: The first offset that it holds.
    end: int  #: The offset after the last one.
    readers: list[Reader]  #: Its readers.


class EdgeView(_Record, frozen=True):
    """An edge between an agent and a topic, or between two agents."""

    source: str  #: The name of the agent or topic.
    target: str  #: The name of the agent or topic.
    tie: Tie  #: `consumes`, `produces` or `feeds`.
    via: Literal["relay"] | None = None  #: `relay` for an edge through the outbox.
    trouble: bool = False  #: True if nothing passes here while all is well.
    lag: int | None = None  #: Records that the reader has not read.


class Topology(_Record, frozen=True):
    """The whole system at one moment."""

    taken_at: datetime  #: When Kafka was asked.
    kafka: Kafka  #: The broker's answer.
    lag: int | None  #: The largest lag of all groups; null without Kafka's figures.
    agents: list[AgentView]  #: Processes of the system and the systems around it.
    topics: list[TopicView]  #: The topics.
    partitions: list[PartitionView]  #: The partitions; empty without Kafka's figures.
    edges: list[EdgeView]  #: The edges between agents and topics.


def around(topology: Topology, *agents: str) -> Topology:
    """The part of these agents: their topics, who writes and reads them, and what they reach."""
    topics = {edge.source for edge in topology.edges if edge.target in agents and edge.tie == "consumes"}
    topics |= {edge.target for edge in topology.edges if edge.source in agents and edge.tie == "produces"}
    lags = [each.group.lag for each in topology.agents if each.name in agents and each.group and each.group.lag is not None]
    kept = [
        edge
        for edge in topology.edges
        if {edge.source, edge.target}.intersection(agents) or (topics & {edge.source, edge.target} and not edge.trouble)
    ]
    names = {edge.source for edge in kept} | {edge.target for edge in kept}
    return msgspec.structs.replace(
        topology,
        lag=sum(lags) if lags else None,
        agents=[each for each in topology.agents if each.name in names],
        topics=[topic for topic in topology.topics if topic.name in topics],
        partitions=[partition for partition in topology.partitions if partition.topic in topics],
        edges=kept,
    )


def declared(now: datetime, kafka: Kafka) -> Topology:
    """The declared graph, without figures of the broker."""
    return _made(now, kafka, None)


def joined(look: BrokerState, now: datetime, prefix: str | None = None) -> Topology:
    """The declared graph with the figures of the broker."""
    return _made(now, Kafka(live=True, prefix=prefix), look)


def _made(now: datetime, kafka: Kafka, look: BrokerState | None) -> Topology:
    partitions = _partitions(look) if look else []
    lags = _lags(partitions)
    groups = look.groups if look else {}
    return Topology(
        taken_at=now,
        kafka=kafka,
        lag=sum(lags.values()) if look else None,
        agents=[_agent(agent, groups, lags) for agent in AGENTS.values()],
        topics=[_topic(topic, look, lags) for topic in TOPICS],
        partitions=partitions,
        edges=[_edge(edge, lags) for edge in edges()],
    )


def _partitions(look: BrokerState) -> list[PartitionView]:
    readers = {topic: [a for a in AGENTS.values() if topic in a.consumes] for topic in TOPICS}
    holders = {
        (name, place): member.id for name, group in look.groups.items() for member in group.members for place in member.places
    }
    return [
        PartitionView(
            topic=place.topic,
            partition=place.partition,
            begin=span.begin,
            end=span.end,
            readers=[_reader(agent, place, span, look.groups, holders) for agent in readers[Topic(place.topic)]],
        )
        for place, span in sorted(look.spans.items(), key=lambda at: (list(TOPICS).index(Topic(at[0].topic)), at[0].partition))
    ]


def _reader(
    agent: Agent, place: Place, span: Span, groups: Mapping[str, Group], holders: Mapping[tuple[str, Place], str]
) -> Reader:
    name = agent.group or ""
    committed = groups[name].committed.get(place)
    return Reader(agent=agent.name, committed=committed, lag=span.lag(committed), member=holders.get((name, place)))


def _lags(partitions: list[PartitionView]) -> dict[tuple[str, str], int]:
    """The lag by topic and agent, in records."""
    found: dict[tuple[str, str], int] = {}
    for partition in partitions:
        for reader in partition.readers:
            key = (partition.topic, reader.agent)
            found[key] = found.get(key, 0) + reader.lag
    return found


def _agent(agent: Agent, groups: Mapping[str, Group], lags: Mapping[tuple[str, str], int]) -> AgentView:
    group = groups.get(agent.group) if agent.group else None
    view = None
    if agent.group:
        view = GroupView(name=agent.group, members=[])
    if group:
        view = GroupView(
            name=group.name,
            state=group.state,
            members=[
                Member(id=m.id, client=m.client, host=m.host, partitions=_by_topic(m.places))
                for m in sorted(group.members, key=lambda member: member.id)
            ],
            lag=sum(lag for (_, reader), lag in lags.items() if reader == agent.name),
        )
    return AgentView(
        name=agent.name,
        title=agent.title,
        kind=agent.kind,
        consumes=[*agent.consumes],
        produces=[*agent.produces],
        feeds=[*agent.feeds],
        group=view,
    )


def _by_topic(places: tuple[Place, ...]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for topic, partition in places:
        found.setdefault(topic, []).append(partition)
    return found


def _topic(topic: Topic, look: BrokerState | None, lags: Mapping[tuple[str, str], int]) -> TopicView:
    spec = TOPICS[topic]
    days = spec.retention.days
    if look is None:
        return TopicView(name=topic, partitions=spec.partitions, retention_days=days)
    spans = [span for place, span in look.spans.items() if place.topic == topic]
    return TopicView(
        name=topic,
        partitions=len(spans) or spec.partitions,
        retention_days=days,
        missing=not spans,
        records=sum(span.end - span.begin for span in spans),
        end=sum(span.end for span in spans),
        lag=max((lag for (read, _), lag in lags.items() if read == topic), default=None),
    )


def _edge(edge: Edge, lags: Mapping[tuple[str, str], int]) -> EdgeView:
    return EdgeView(
        source=edge.source,
        target=edge.target,
        tie=edge.tie,
        via="relay" if edge.tie == "produces" else None,
        trouble=edge.trouble,
        lag=lags.get((edge.source, edge.target)) if edge.tie == "consumes" else None,
    )
