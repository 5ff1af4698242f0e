"""
The positions of boxes and curves, from left to right, in lanes.

The lanes are: callers; gateway and relay; incoming topics; the workers that read them; the topics and neighbours that these
reach; the workers that read other workers' topics; and everything that those reach. A box's lane follows from its kind and edges.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from topology.view import AgentView, EdgeView, Topology

_ROW_GAP: Final = 16.0
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
    lanes = lanes_of(topology)
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
