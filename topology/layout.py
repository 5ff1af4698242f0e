"""
Where boxes and links of a graph go, from left to right: the second half of a layered layout. Pure functions.

Heights are the closest to the neighbours' that leave everything its room; a link leaves and arrives at a port of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from topology.layers import SWEEPS, Box, Cell, Lane, Link, Near, average, chain_of, columns_of, neighbours_of, rows_of

_ROW_GAP: Final = 16.0
_LANE: Final = 8.0
_PORT_GAP: Final = 10.0


class Point(NamedTuple):
    """Of a drawing that grows to the right and down."""

    x: float
    y: float


class Placed(NamedTuple):
    """Where everything went: the left upper corners, the ways in the order of the links, and the size of it all."""

    corners: dict[str, Point]
    ways: list[list[Point]]
    width: float
    height: float


class _Frame(NamedTuple):
    """What the ways go by: boxes where they stand, the middle of every cell, and the left side and width of every column."""

    boxes: Mapping[str, Box]
    corners: Mapping[str, Point]
    middles: Mapping[Cell, float]
    columns: Mapping[str, int]
    sides: Sequence[tuple[float, float]]


class _End(NamedTuple):
    """Where a link, by its number, leaves a box or arrives; in the order of what is next on its way."""

    beside: float
    link: int
    leaves: bool


def place(boxes: Sequence[Box], links: Sequence[Link], *, column_gap: float) -> Placed:
    """Place every box, and lead every link from its source to its target."""
    columns = columns_of([box.name for box in boxes], links)
    chains = [chain_of(link, columns) for link in links]
    near = neighbours_of(links, chains)
    rows = rows_of(boxes, columns, chains, near)
    sizes = {box.name: box for box in boxes}
    heights = _heights(rows, near, sizes)
    sides = _sides(rows, sizes, column_gap)
    top = min(heights[cell] - _half(cell, sizes) for row in rows for cell in row)
    bottom = max(heights[cell] + _half(cell, sizes) for row in rows for cell in row)
    middles = {cell: height - top for cell, height in heights.items()}
    corners = {box.name: _corner(box, sides[columns[box.name]], middles[box.name]) for box in boxes}
    ways = _ways(links, chains, _Frame(sizes, corners, middles, columns, sides))
    return Placed(corners, ways, sum(sides[-1]), bottom - top)


def _corner(box: Box, side: tuple[float, float], middle: float) -> Point:
    left, width = side
    return Point(left + (width - box.width) / 2, middle - box.height / 2)


def _half(cell: Cell, sizes: Mapping[str, Box]) -> float:
    return _LANE / 2 if isinstance(cell, Lane) else sizes[cell].height / 2


def _heights(rows: Sequence[Sequence[Cell]], near: Near, sizes: Mapping[str, Box]) -> dict[Cell, float]:
    """The middle of every cell: each column again and again as near to its neighbours as its order allows."""
    heights: dict[Cell, float] = {}
    for row in rows:
        rooms = _rooms(row, sizes)
        heights.update({cell: room - rooms[-1] / 2 for cell, room in zip(row, rooms, strict=True)})
    for _ in range(SWEEPS):
        for row in [*rows, *rows[::-1]]:
            wished = [average(near.get(cell, {}), heights, heights[cell]) for cell in row]
            heights.update(zip(row, _apart(wished, _rooms(row, sizes)), strict=True))
    return heights


def _rooms(row: Sequence[Cell], sizes: Mapping[str, Box]) -> list[float]:
    """How far down each cell is at least, from the middle of the first."""
    rooms = [0.0]
    for above, below in pairwise(row):
        rooms.append(rooms[-1] + _half(above, sizes) + _ROW_GAP + _half(below, sizes))
    return rooms


def _apart(wished: Sequence[float], rooms: Sequence[float]) -> list[float]:
    """The heights closest to those wished for, by squares, that leave everything its room: pool adjacent violators."""
    pools: list[tuple[float, int]] = []
    for wish, room in zip(wished, rooms, strict=True):
        mean, size = wish - room, 1
        while pools and pools[-1][0] > mean:
            other, number = pools.pop()
            mean, size = (mean * size + other * number) / (size + number), size + number
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [mean + room for mean, room in zip(flat, rooms, strict=True)]


def _sides(rows: Sequence[Sequence[Cell]], sizes: Mapping[str, Box], gap: float) -> list[tuple[float, float]]:
    widths = [max((sizes[cell].width for cell in row if not isinstance(cell, Lane)), default=0.0) for row in rows]
    return [(sum(widths[:n]) + gap * n, width) for n, width in enumerate(widths)]


def _ways(links: Sequence[Link], chains: Sequence[Sequence[Cell]], frame: _Frame) -> list[list[Point]]:
    """Out of a box at a port, straight through the lanes, and into the target at a port."""
    ports = _ports(links, chains, frame)
    ways = []
    for n, chain in enumerate(chains):
        points = [ports[n, True]]
        for lane in chain[1:-1]:
            if isinstance(lane, Lane):
                left, width = frame.sides[lane.column]
                crossed = (left + width, left) if lane.backward else (left, left + width)
                points += [Point(x, frame.middles[lane]) for x in crossed]
        ways.append([*points, ports[n, False]])
    return ways


def _ports(links: Sequence[Link], chains: Sequence[Sequence[Cell]], frame: _Frame) -> dict[tuple[int, bool], Point]:
    """Where each link leaves (True) and arrives (False): the right side of a box, or its left where the link goes back."""
    sides: dict[tuple[str, bool], list[_End]] = defaultdict(list)
    for n, (link, chain) in enumerate(zip(links, chains, strict=True)):
        back = frame.columns[link.target] <= frame.columns[link.source]
        sides[link.source, not back].append(_End(frame.middles[chain[1]], n, leaves=True))
        sides[link.target, back].append(_End(frame.middles[chain[-2]], n, leaves=False))
    ports = {}
    for (name, right), ends in sides.items():
        box, corner = frame.boxes[name], frame.corners[name]
        x = corner.x + (box.width if right else 0.0)
        for end, offset in _spread(sorted(ends), chains, box.height - 12).items():
            ports[end.link, end.leaves] = Point(x, corner.y + box.height / 2 + offset)
    return ports


def _spread(ends: Sequence[_End], chains: Sequence[Sequence[Cell]], room: float) -> dict[_End, float]:
    """How far from the middle each end is; those that arrive by one lane do so at one port."""
    keys: list[object] = []
    for end in ends:
        before = chains[end.link][-2]
        keys.append(before if isinstance(before, Lane) and not end.leaves else end)
    distinct = [*dict.fromkeys(keys)]
    gap = min(_PORT_GAP, room / max(1, len(distinct) - 1))
    offset = {key: (n - (len(distinct) - 1) / 2) * gap for n, key in enumerate(distinct)}
    return {end: offset[key] for end, key in zip(ends, keys, strict=True)}
