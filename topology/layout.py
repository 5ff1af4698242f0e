"""
Where boxes and curves go, from left to right, in lanes.

Callers; the gateway and the relay; the topics that come in; the workers that read them; the topics and neighbours that those
reach; the workers that read what workers say; and what these reach. A box's lane follows from who it is: nothing is searched for.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from topology.view import AgentView, EdgeView, Topology

_ROW_GAP: Final = 16.0
_CALLERS, _DOOR, _IN, _FIRST, _SAID, _SECOND, _REACHED = range(7)


class Point(NamedTuple):
    """Of a drawing that grows to the right and down."""

    x: float
    y: float


class Box(NamedTuple):
    """Something to be placed."""

    name: str
    width: float
    height: float


class Placed(NamedTuple):
    """Where everything went: the left upper corners, the ends of the curves in the order of the edges, and the size of it all."""

    corners: dict[str, Point]
    ways: list[tuple[Point, Point]]
    width: float
    height: float


def place(topology: Topology, boxes: Sequence[Box], *, column_gap: float) -> Placed:
    """Place every box in its lane, near those that it is tied to, and lead every edge from its source to its target."""
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
    """The lane of every agent and topic that is tied to another."""
    usual = [edge for edge in topology.edges if not edge.trouble]
    said = {(edge.source, edge.target) for edge in usual if edge.tie == "produces"}
    workers = {agent.name for agent in topology.agents if agent.kind == "worker"}
    lanes = {agent.name: _lane(agent, said, workers) for agent in topology.agents}
    for topic in topology.topics:
        readers = [lanes[edge.target] for edge in usual if edge.source == topic.name]
        writers = [lanes[source] for source, target in said if target == topic.name]
        lanes[topic.name] = min(readers) - 1 if readers else max(writers, default=_SECOND) + 1
    reached = {edge.target: lanes[edge.source] + 1 for edge in usual if edge.tie == "feeds" and edge.source in workers}
    return lanes | reached


def _lane(agent: AgentView, said: set[tuple[str, str]], workers: set[str]) -> int:
    if agent.kind == "outside":
        return _CALLERS
    if agent.kind != "worker":
        return _DOOR
    others = {target for source, target in said if source in workers - {agent.name}}
    return _SECOND if others & {*agent.consumes} else _FIRST


def _ordered(column: Sequence[Box], edges: Sequence[EdgeView], corners: Mapping[str, Point]) -> list[Box]:
    """By how high those to the left stand that a box is tied to; whoever has none goes last, as it was declared."""

    def height(box: Box) -> float:
        ties = [{edge.source, edge.target} for edge in edges if not edge.trouble]
        near = [corners[name].y for tie in ties if box.name in tie for name in tie - {box.name} if name in corners]
        return fmean(near) if near else float("inf")

    return sorted(column, key=height)


def _ways(edges: Sequence[EdgeView], boxes: Mapping[str, Box], corners: Mapping[str, Point]) -> list[tuple[Point, Point]]:
    """Each edge has a port of its own, on the side that faces the other box; ports stand in the order of the other boxes."""
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
