"""The topology as a page: one file with its drawing, style and script, which loads nothing from another server."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup

from topology.drawing import draw
from topology.levels import MUCH, Level, level_of, short
from topology.view import AgentView, TopicView, Topology

if TYPE_CHECKING:
    from jinja2 import Environment

CONTENT_SECURITY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'"
)
"""The page loads nothing from other servers, and no page may frame it."""


class HyperLink(NamedTuple):
    """A link in the head of the page."""

    text: str
    href: str


class _Tile(NamedTuple):
    value: str
    text: str
    level: Level


class _Reading(NamedTuple):
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


def render(
    topology: Topology,
    *,
    title: str = "topology",
    focus: frozenset[str] = frozenset(),
    mine: frozenset[tuple[str, int]] = frozenset(),
    links: Sequence[HyperLink] = (),
    fresh: bool = True,
    footer: Markup | str = "",
) -> str:
    """The page; `focus` are its agents, `mine` are the partitions of the process that serves it, and `fresh` makes it
    reload its figures every few seconds.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            topology=topology,
            drawing=draw(topology, mine),
            title=title,
            focus=focus,
            mine=mine,
            links=links,
            tiles=_tiles(topology),
            readings=_readings(topology),
            footer=footer,
            fresh=fresh,
            much=MUCH,
            short=short,
            level_of=level_of,
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # a process starts without its pages

    return Environment(loader=PackageLoader("topology"), undefined=StrictUndefined, autoescape=True, trim_blocks=True)


def _tiles(topology: Topology) -> list[_Tile]:
    groups = [agent.group for agent in topology.agents if agent.group]
    read = sum(bool(group.members) for group in groups)
    records = [topic.records for topic in topology.topics if topic.records is not None]
    missing = [topic.name for topic in topology.topics if topic.missing]
    tiles = [
        _Tile("?" if topology.lag is None else short(topology.lag), "records left to read", level_of(topology.lag)),
        _Tile(
            f"{read} of {len(groups)}" if topology.kafka.live else "?",
            "groups with a process",
            ("none" if read == len(groups) else "stopped") if topology.kafka.live else "unknown",
        ),
        _Tile(f"{len(topology.topics)}", f"topics, {sum(topic.partitions for topic in topology.topics)} partitions", "unknown"),
        _Tile(short(sum(records)) if records else "?", "records kept by Kafka", "unknown"),
    ]
    if topology.kafka.prefix:
        tiles.append(_Tile(topology.kafka.prefix, "before each name on Kafka", "unknown"))
    if missing:
        tiles.append(_Tile(f"{len(missing)}", "topics are missing: tallyhook topics ensure", "stopped"))
    return tiles


def _readings(topology: Topology) -> list[_Reading]:
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
                _Reading(
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
