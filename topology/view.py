"""The topology as a record: what is declared, joined with one look at Kafka. A pure function makes it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from outbox.offsets import Group, Look, Place, Span
from schemas.topics import TOPICS, Topic
from schemas.topology import AGENTS, Agent, Edge, Kind, Tie, edges


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Field names on the wire are camelCase; what is not known is left out."""


class Kafka(_Record, frozen=True):
    """Whether the broker was asked and told; without it the graph is the declared one, and has no offsets."""

    live: bool
    reason: str | None = None
    detail: str | None = None


class Member(_Record, frozen=True):
    """One process of a worker, as the group's coordinator knows it, and how many partitions it has."""

    id: str
    client: str
    host: str
    partitions: dict[str, list[int]]
    """Numbers by topic."""


class GroupView(_Record, frozen=True):
    """
    The consumer group of a role.

    `state` is Kafka's word: `stable`, `empty`, `preparing_rebalancing`, `completing_rebalancing`, `dead` (nobody has ever read).
    `lag` is that of all its partitions together.
    """

    name: str
    members: list[Member]
    state: str | None = None
    lag: int | None = None


class AgentView(_Record, frozen=True):
    """Who reads topics, writes to them, or is reached by who does."""

    name: str
    title: str
    kind: Kind
    consumes: list[str]
    produces: list[str]
    feeds: list[str]
    group: GroupView | None = None


class TopicView(_Record, frozen=True):
    """
    A topic; `partitions` is their number on the broker, or the declared one where the broker has not told.

    `records` is how many it holds now, `end` how many it ever got; `lag` is the largest of its readers'.
    """

    name: str
    partitions: int
    retention_days: int
    missing: bool = False
    """The broker does not have it: `tallyhook topics ensure` makes it."""
    records: int | None = None
    end: int | None = None
    lag: int | None = None


class Reader(_Record, frozen=True):
    """How far an agent is in a partition; without `committed` it has never said."""

    agent: str
    lag: int
    committed: int | None = None
    member: str | None = None
    """The id of the group's member that has the partition."""


class PartitionView(_Record, frozen=True):
    """A partition: it holds what is at `begin` and after, up to but without `end`."""

    topic: str
    partition: int
    begin: int
    end: int
    readers: list[Reader]


class EdgeView(_Record, frozen=True):
    """Who is tied to whom. `lag` is what a reader has left to read; nothing goes the way of `trouble` while all is well."""

    source: str
    target: str
    tie: Tie
    via: Literal["relay"] | None = None
    trouble: bool = False
    lag: int | None = None


class Topology(_Record, frozen=True):
    """The whole system at one moment."""

    taken_at: datetime
    kafka: Kafka
    lag: int | None
    agents: list[AgentView]
    topics: list[TopicView]
    partitions: list[PartitionView]
    edges: list[EdgeView]


def around(topology: Topology, agent: str) -> Topology:
    """The part of an agent: its topics, who writes and reads them, and what it reaches."""
    topics = {edge.source for edge in topology.edges if edge.target == agent and edge.tie == "consumes"}
    topics |= {edge.target for edge in topology.edges if edge.source == agent and edge.tie == "produces"}
    kept = [
        edge
        for edge in topology.edges
        if agent in {edge.source, edge.target} or (topics & {edge.source, edge.target} and not edge.trouble)
    ]
    names = {edge.source for edge in kept} | {edge.target for edge in kept}
    return msgspec.structs.replace(
        topology,
        lag=next((each.group.lag for each in topology.agents if each.name == agent and each.group), None),
        agents=[each for each in topology.agents if each.name in names],
        topics=[topic for topic in topology.topics if topic.name in topics],
        partitions=[partition for partition in topology.partitions if partition.topic in topics],
        edges=kept,
    )


def declared(now: datetime, kafka: Kafka) -> Topology:
    """The graph as it is declared, with nothing of the broker's."""
    return _made(now, kafka, None)


def joined(look: Look, now: datetime) -> Topology:
    """The declared graph with what a look at the broker has shown."""
    return _made(now, Kafka(live=True), look)


def _made(now: datetime, kafka: Kafka, look: Look | None) -> Topology:
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


def _partitions(look: Look) -> list[PartitionView]:
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
    """By topic and agent."""
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


def _topic(topic: Topic, look: Look | None, lags: Mapping[tuple[str, str], int]) -> TopicView:
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
