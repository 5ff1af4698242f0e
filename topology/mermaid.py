"""The topology as Mermaid text, which GitHub and many wikis draw."""

from typing import Final

from topology.levels import Level, level_of, short
from topology.view import AgentView, EdgeView, TopicView, Topology

_LOUD: Final[tuple[Level, ...]] = ("some", "much", "stopped")
_STYLES: Final = (
    "  classDef outside fill:#eef0f4,stroke:#9aa4b8,color:#525c74",
    "  classDef gateway fill:#eef0ff,stroke:#a9b2f5,color:#3a43b0",
    "  classDef relay fill:#eef0ff,stroke:#a9b2f5,color:#3a43b0",
    "  classDef worker fill:#e9f7f4,stroke:#8fd0c2,color:#0d6555",
    "  classDef topic fill:#ffffff,stroke:#cdd4e1,color:#182033",
    "  classDef some stroke:#c88400,stroke-width:3px",
    "  classDef much stroke:#d43d3d,stroke-width:3px",
    "  classDef stopped stroke:#d43d3d,stroke-width:3px,stroke-dasharray:5 4",
)


def mermaid(topology: Topology) -> str:
    """A flowchart: agents as rounded boxes, topics as subroutines, edges of trouble dotted, and lag as a label."""
    tied = {name for edge in topology.edges for name in (edge.source, edge.target)}
    lines = ["flowchart LR"]
    lines += [_agent(agent) for agent in topology.agents if agent.name in tied]
    lines += [_topic(topic) for topic in topology.topics]
    lines += [_edge(edge) for edge in topology.edges]
    return "\n".join([*lines, *_STYLES, *_loud(topology)]) + "\n"


def _loud(topology: Topology) -> list[str]:
    """The classes of boxes with a lag or without a reader."""
    found: dict[Level, list[str]] = {}
    for agent in topology.agents:
        if agent.group and agent.group.state:
            found.setdefault(level_of(agent.group.lag) if agent.group.members else "stopped", []).append(_id(agent.name))
    for topic in topology.topics:
        found.setdefault("stopped" if topic.missing else level_of(topic.lag), []).append(_id(topic.name))
    return [f"  class {','.join(found[level])} {level}" for level in _LOUD if level in found]


def _agent(agent: AgentView) -> str:
    note = ""
    if agent.group and agent.group.state:
        number = len(agent.group.members)
        note = f"<br/>{number} process{'' if number == 1 else 'es'}, lag {short(agent.group.lag or 0)}"
    ends = ("([", "])") if agent.kind == "outside" else ("(", ")")
    return f'  {_id(agent.name)}{ends[0]}"{agent.title}{note}"{ends[1]}:::{agent.kind}'


def _topic(topic: TopicView) -> str:
    note = f"{topic.partitions} partition{'' if topic.partitions == 1 else 's'}"
    note += f", lag {short(topic.lag)}" if topic.lag else ""
    return f'  {_id(topic.name)}[["{topic.name}<br/>{note}"]]:::topic'


def _edge(edge: EdgeView) -> str:
    arrow = "-.->" if edge.trouble or edge.tie == "feeds" else "-->"
    label = f'|"lag {short(edge.lag)}"|' if edge.lag else ""
    return f"  {_id(edge.source)} {arrow}{label} {_id(edge.target)}"


def _id(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")
