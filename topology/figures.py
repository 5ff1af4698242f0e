"""The figures of the topology for people: tiles with totals, and a line for each topic that a worker reads."""

from typing import NamedTuple

from topology.levels import Level, level_of, short
from topology.view import AgentView, TopicView, Topology


class Tile(NamedTuple):
    """A figure, its name, and its level."""

    value: str
    text: str
    level: Level


class Reading(NamedTuple):
    """A line of the table: one worker, one topic."""

    agent: AgentView
    topic: TopicView
    first: bool
    processes: str
    idle: bool
    end: str
    committed: str
    lag: str
    level: Level


def tiles(topology: Topology) -> list[Tile]:
    """Return the figures of the whole, without Kafka those that are declared."""
    groups = [agent.group for agent in topology.agents if agent.group]
    read = sum(bool(group.members) for group in groups)
    records = [topic.records for topic in topology.topics if topic.records is not None]
    missing = [topic.name for topic in topology.topics if topic.missing]
    found = [
        Tile("?" if topology.lag is None else short(topology.lag), "records left to read", level_of(topology.lag)),
        Tile(
            f"{read} of {len(groups)}" if topology.kafka.live else "?",
            "groups with a process",
            ("none" if read == len(groups) else "stopped") if topology.kafka.live else "unknown",
        ),
        Tile(f"{len(topology.topics)}", f"topics, {sum(topic.partitions for topic in topology.topics)} partitions", "unknown"),
        Tile(short(sum(records)) if records else "?", "records kept by Kafka", "unknown"),
    ]
    if topology.kafka.prefix:
        found.append(Tile(topology.kafka.prefix, "before each name on Kafka", "unknown"))
    if missing:
        found.append(Tile(f"{len(missing)}", "topics are missing: tallyhook topics ensure", "stopped"))
    return found


def readings(topology: Topology) -> list[Reading]:
    """Return a line for each worker and topic that it reads."""
    topics = {topic.name: topic for topic in topology.topics}
    lags = {(edge.source, edge.target): edge.lag for edge in topology.edges}
    found = []
    for agent in topology.agents:
        if agent.kind != "worker":
            continue
        for n, name in enumerate(name for name in agent.consumes if name in topics):
            lag = lags.get((name, agent.name))
            committed = _committed(topology, name, agent.name)
            topic = topics[name]
            found.append(
                Reading(
                    agent=agent,
                    topic=topic,
                    first=n == 0,
                    processes=_processes(agent),
                    idle=bool(agent.group and agent.group.state and not agent.group.members),
                    end="?" if topic.end is None else f"{topic.end:,}",
                    committed=committed,
                    lag="?" if lag is None else f"{lag:,}",
                    level=level_of(lag),
                )
            )
    return found


def _processes(agent: AgentView) -> str:
    if agent.group is None or agent.group.state is None:
        return "?"
    if not agent.group.members:
        return f"none ({agent.group.state})"
    return f"{len(agent.group.members)}" + ("" if agent.group.state == "stable" else f" ({agent.group.state.replace('_', ' ')})")


def _committed(topology: Topology, topic: str, agent: str) -> str:
    offsets = [r.committed for p in topology.partitions if p.topic == topic for r in p.readers if r.agent == agent]
    known = [offset for offset in offsets if offset is not None]
    return f"{sum(known):,}" if known else "-" if offsets else "?"
