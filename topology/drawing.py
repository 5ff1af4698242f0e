"""The topology as a drawing: every box in its lane, and curves between them, with their texts, ready for the template."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from topology.levels import Level, level_of, short
from topology.view import AgentView, EdgeView, TopicView, Topology

_ROW_GAP: Final = 16.0
OUTBOX: Final = "outbox"
"""The box between the gateway and the relay, drawn if the caller has the state of Postgres."""
_CALLERS, _DOOR, _IN, _FIRST, _PRODUCED, _SECOND, _REACHED = range(7)


class Point(NamedTuple):
    """A point in pixels; x grows to the right, y grows downwards."""

    x: float
    y: float


class Box(NamedTuple):
    """A box to place, with its size in pixels."""

    name: str
    width: float
    height: float


class Placed(NamedTuple):
    """The upper left corners, the ends of the curves in the order of the edges, and the size of the whole."""

    corners: dict[str, Point]
    ways: list[tuple[Point, Point]]
    width: float
    height: float


def place(topology: Topology, boxes: Sequence[Box], *, column_gap: float) -> Placed:
    """Place every box in its lane, near its neighbours, and lead every edge from its source to its target."""
    lanes = {OUTBOX: _DOOR} | lanes_of(topology)
    columns = [column for lane in range(_REACHED + 1) if (column := [box for box in boxes if lanes[box.name] == lane])]
    height = max((sum(box.height + _ROW_GAP for box in column) - _ROW_GAP for column in columns), default=0.0)
    corners: dict[str, Point] = {}
    x = 0.0
    for column in columns:
        width = max(box.width for box in column)
        y = (height - sum(box.height + _ROW_GAP for box in column) + _ROW_GAP) / 2
        for box in _ordered(column, topology.edges, corners):
            corners[box.name] = Point(x + (width - box.width) / 2, y)
            y += box.height + _ROW_GAP
        x += width + column_gap
    return Placed(corners, _ways(topology.edges, {box.name: box for box in boxes}, corners), max(0.0, x - column_gap), height)


def lanes_of(topology: Topology) -> dict[str, int]:
    """The lane of every agent and topic that has an edge."""
    usual = [edge for edge in topology.edges if not edge.trouble]
    produced = {(edge.source, edge.target) for edge in usual if edge.tie == "produces"}
    workers = {agent.name for agent in topology.agents if agent.kind == "worker"}
    lanes = {agent.name: _lane(agent, produced, workers) for agent in topology.agents}
    for topic in topology.topics:
        readers = [lanes[edge.target] for edge in usual if edge.source == topic.name]
        writers = [lanes[source] for source, target in produced if target == topic.name]
        lanes[topic.name] = min(readers) - 1 if readers else max(writers, default=_SECOND) + 1
    reached = {edge.target: lanes[edge.source] + 1 for edge in usual if edge.tie == "feeds" and edge.source in workers}
    return lanes | reached


def _lane(agent: AgentView, produced: set[tuple[str, str]], workers: set[str]) -> int:
    if agent.kind == "outside":
        return _CALLERS
    if agent.kind != "worker":
        return _DOOR
    others = {target for source, target in produced if source in workers - {agent.name}}
    return _SECOND if others & {*agent.consumes} else _FIRST


def _ordered(column: Sequence[Box], edges: Sequence[EdgeView], corners: Mapping[str, Point]) -> list[Box]:
    """The boxes by the mean height of their neighbours to the left; boxes without one come last, in declared order."""

    def height(box: Box) -> float:
        ties = [{edge.source, edge.target} for edge in edges if not edge.trouble]
        near = [corners[name].y for tie in ties if box.name in tie for name in tie - {box.name} if name in corners]
        return fmean(near) if near else float("inf")

    return sorted(column, key=height)


def _ways(edges: Sequence[EdgeView], boxes: Mapping[str, Box], corners: Mapping[str, Point]) -> list[tuple[Point, Point]]:
    """The ends of every edge: each has its own port on the side that faces the other box, in the order of the other boxes."""
    sides: dict[tuple[str, bool], list[tuple[float, int]]] = {}
    for number, edge in enumerate(edges):
        for name, other in ((edge.source, edge.target), (edge.target, edge.source)):
            sides.setdefault((name, corners[other].x > corners[name].x), []).append((corners[other].y, number))
    ports: dict[tuple[str, int], Point] = {}
    for (name, right), ends in sides.items():
        corner, box = corners[name], boxes[name]
        for n, (_, number) in enumerate(sorted(ends), start=1):
            ports[name, number] = Point(corner.x + box.width * right, corner.y + box.height * n / (len(ends) + 1))
    return [(ports[edge.source, number], ports[edge.target, number]) for number, edge in enumerate(edges)]


_COLUMN_GAP: Final = 64.0
_MARGIN: Final = 14.0
_TOPIC: Final = (212.0, 52.0)
_SIZES: Final = {"outside": (118.0, 34.0), "gateway": (126.0, 52.0), "relay": (126.0, 52.0), "worker": (142.0, 52.0)}
_STORE: Final = (152.0, 52.0)

_NOTES: Final = {"gateway": "commits, then 2xx", "relay": "outbox to Kafka"}


class Strip(NamedTuple):
    """One partition on a topic's box."""

    x: float
    width: float
    level: Level
    tip: str
    mine: bool


class Shape(NamedTuple):
    """A box: `kind` and `level` choose its colours, and `badge` is the lag written on it."""

    name: str
    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str
    note: str
    level: Level
    badge: str
    tip: str
    strips: list[Strip]


class Curve(NamedTuple):
    """A connection between boxes, as an SVG path."""

    source: str
    target: str
    kind: str
    level: Level
    path: str
    tip: str


class Drawing(NamedTuple):
    """The boxes, the curves and the size of a drawing, in pixels."""

    shapes: list[Shape]
    curves: list[Curve]
    width: float
    height: float


class Station(NamedTuple):
    """The state of the outbox or of the relay, in a few words."""

    note: str
    level: Level = "none"
    badge: str = ""


class Way(NamedTuple):
    """The way from the gateway's commit to Kafka, as stored in Postgres."""

    outbox: Station
    relay: Station


def draw(topology: Topology, mine: frozenset[tuple[str, int]] = frozenset(), way: Way | None = None) -> Drawing:
    """Draw everything that has an edge, mark the partitions in `mine`, and with the state of the way add the outbox."""
    tied = {name for edge in topology.edges for name in (edge.source, edge.target)}
    agents = [agent for agent in topology.agents if agent.name in tied]
    boxes = [Box(OUTBOX, *_STORE)] if way else []
    boxes += [Box(agent.name, *_SIZES[agent.kind]) for agent in agents]
    boxes += [Box(topic.name, *_TOPIC) for topic in topology.topics]
    placed = place(topology, boxes, column_gap=_COLUMN_GAP)
    corners = {name: Point(corner.x + _MARGIN, corner.y + _MARGIN) for name, corner in placed.corners.items()}
    shapes = [_agent(agent, corners[agent.name]) for agent in agents]
    shapes += [_topic(topology, topic, corners[topic.name], mine) for topic in topology.topics]
    curves = [_curve(edge, ends, topology) for edge, ends in zip(topology.edges, placed.ways, strict=True)]
    if way:
        shapes = [_with_state(shape, way.relay) if shape.kind == "relay" else shape for shape in shapes]
        shapes.append(_store(corners[OUTBOX], way.outbox))
        curves += _stored({shape.name: shape for shape in shapes})
    curves.sort(key=lambda curve: (curve.kind != "trouble", curve.level != "none"))
    return Drawing(shapes, curves, placed.width + 2 * _MARGIN, placed.height + 2 * _MARGIN)


def _agent(agent: AgentView, corner: Point) -> Shape:
    width, height = _SIZES[agent.kind]
    level = _level_of_agent(agent)
    lag = agent.group.lag if agent.group else None
    note, badge = _note(agent), short(lag) if lag else ""
    tip = f"{agent.title}: {note}" if note else agent.title
    return Shape(agent.name, agent.kind, *corner, width, height, agent.title, note, level, badge, tip, [])


def _store(corner: Point, station: Station) -> Shape:
    title = "Outbox in Postgres"
    return _with_state(Shape(OUTBOX, "store", *corner, *_STORE, title, "", "none", "", title, []), station)


def _with_state(shape: Shape, station: Station) -> Shape:
    return shape._replace(**station._asdict(), tip=f"{shape.title}: {station.note}")


def _stored(shapes: Mapping[str, Shape]) -> list[Curve]:
    """Return two straight curves down the lane of the gateway: from it into the outbox, and from there to the relay."""
    found = []
    for source, target in (("gateway", OUTBOX), (OUTBOX, "relay")):
        above, below = shapes[source], shapes[target]
        x, y = above.x + above.width / 2, above.y + above.height
        tip = f"{above.title} to {below.title}"
        found.append(Curve(source, target, "stores", "none", f"M{x:.1f} {y:.1f}L{x:.1f} {below.y:.1f}", tip))
    return found


def _note(agent: AgentView) -> str:
    if agent.kind in _NOTES:
        return _NOTES[agent.kind]
    if agent.group is None or agent.group.state is None:
        return ""
    if not agent.group.members:
        return "no process"
    number = len(agent.group.members)
    word = "1 process" if number == 1 else f"{number} processes"
    return word if agent.group.state == "stable" else f"{word}, rebalancing"


def _level_of_agent(agent: AgentView) -> Level:
    if agent.group is None:
        return "none"
    if agent.group.state is not None and not agent.group.members:
        return "stopped"
    return level_of(agent.group.lag)


def _topic(topology: Topology, topic: TopicView, corner: Point, mine: frozenset[tuple[str, int]]) -> Shape:
    width, height = _TOPIC
    note = "not on the broker" if topic.missing else "" if topic.records is None else f"{short(topic.records)} kept"
    level: Level = "stopped" if topic.missing else level_of(topic.lag) if topic.lag is not None else "none"
    tip = f"{topic.name}: {topic.partitions} partitions, kept for {topic.retention_days} days"
    badge = short(topic.lag) if topic.lag else ""
    strips = _strips(topology, topic, width - 24 - 62, mine)
    return Shape(topic.name, "topic", *corner, width, height, topic.name, note, level, badge, tip, strips)


def _strips(topology: Topology, topic: TopicView, room: float, mine: frozenset[tuple[str, int]]) -> list[Strip]:
    step = min(15.0, room / topic.partitions)
    known = {partition.partition: partition for partition in topology.partitions if partition.topic == topic.name}
    found = []
    for number in range(topic.partitions):
        tip, level = f"partition {number}", level_of(None)
        if partition := known.get(number):
            lag = max((reader.lag for reader in partition.readers), default=None)
            level = level_of(lag)
            tip += f": offsets {partition.begin} to {partition.end}"
            tip += "".join(
                f"; {reader.agent} committed {'nothing' if reader.committed is None else reader.committed}, lag {reader.lag}"
                for reader in partition.readers
            )
        found.append(Strip(number * step, step - min(3.0, step / 4), level, tip, (topic.name, number) in mine))
    return found


def _curve(edge: EdgeView, way: tuple[Point, Point], topology: Topology) -> Curve:
    level: Level = level_of(edge.lag) if edge.tie == "consumes" and topology.kafka.live else "none"
    kind = "trouble" if edge.trouble else edge.tie
    tip = {"consumes": f"{edge.target} reads {edge.source}", "produces": f"{edge.source} writes {edge.target}, through the relay"}
    text = tip.get(edge.tie, f"{edge.source} to {edge.target}") + (f": lag {edge.lag}" if edge.lag else "")
    return Curve(edge.source, edge.target, kind, level, _path(way), text)


def _path(way: tuple[Point, Point]) -> str:
    """A smooth curve, level at both ends."""
    start, end = (Point(x + _MARGIN, y + _MARGIN) for x, y in way)
    bend = (end.x - start.x) / 2
    return (
        f"M{start.x:.1f} {start.y:.1f}C{start.x + bend:.1f} {start.y:.1f} {end.x - bend:.1f} {end.y:.1f} {end.x:.1f} {end.y:.1f}"
    )
