"""
Which column each box of a graph belongs to, and in what order a column's boxes stand: the first half of a layered layout.

Columns come from the longest way to a box. A link that spans several passes those between in lanes, and links to the same box
share theirs. The order within a column is that of the neighbours' averages; of all sweeps the one with fewest crossings is kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

SWEEPS: Final = 24
_FAINT: Final = 0.05
_STRAIGHT: Final = 8.0


class Box(NamedTuple):
    """Something to be placed."""

    name: str
    width: float
    height: float


class Link(NamedTuple):
    """From box to box; a `faint` one decides over no column and hardly over the order."""

    source: str
    target: str
    faint: bool = False


class Lane(NamedTuple):
    """A place where links to one box pass a column."""

    target: str
    column: int
    backward: bool


Cell = str | Lane
"""What stands in a column: a box, by its name, or a lane."""
Near = Mapping[Cell, Mapping[Cell, float]]
"""Who is next to whom, in either direction, and how much that counts."""


def columns_of(names: Sequence[str], links: Sequence[Link]) -> dict[str, int]:
    """The longest way to each box, over links that are not faint and close no circle; sources then move up to what they feed."""
    forward = _without_circles(names, [link for link in links if not link.faint])
    order = _topological(names, forward)
    column = dict.fromkeys(names, 0)
    for name in order:
        for target in forward[name]:
            column[target] = max(column[target], column[name] + 1)
    incoming = {name: sum(name in targets for targets in forward.values()) for name in names}
    for name in reversed(order):
        if forward[name] and incoming[name] <= len(forward[name]):
            column[name] = min(column[target] for target in forward[name]) - 1
    for name in names:
        if not forward[name] and not incoming[name]:
            column[name] = _beside_faint(name, links, column)
    return column


def chain_of(link: Link, columns: Mapping[str, int]) -> list[Cell]:
    """The cells that a link passes, its two boxes included."""
    first, last = columns[link.source], columns[link.target]
    step = 1 if last >= first else -1
    return [link.source, *(Lane(link.target, column, step < 0) for column in range(first + step, last, step)), link.target]


def neighbours_of(links: Sequence[Link], chains: Sequence[Sequence[Cell]]) -> Near:
    """Who is next to whom along the links."""
    near: dict[Cell, dict[Cell, float]] = defaultdict(dict)
    for link, chain in zip(links, chains, strict=True):
        for one, other in pairwise(chain):
            weight = (_FAINT if link.faint else 1.0) * (_STRAIGHT if isinstance(one, Lane) and isinstance(other, Lane) else 1.0)
            near[one][other] = near[other][one] = max(weight, near[one].get(other, 0))
    return near


def rows_of(boxes: Sequence[Box], columns: Mapping[str, int], chains: Iterable[Sequence[Cell]], near: Near) -> list[list[Cell]]:
    """The columns from left to right, each from top to bottom."""
    rows: list[list[Cell]] = [[] for _ in range(max(columns.values(), default=0) + 1)]
    for box in boxes:
        rows[columns[box.name]].append(box.name)
    for lane in dict.fromkeys(cell for chain in chains for cell in chain if isinstance(cell, Lane)):
        rows[lane.column].append(lane)
    return _ordered(rows, near)


def average(neighbours: Mapping[Cell, float], spots: Mapping[Cell, float], otherwise: float) -> float:
    """The weighted mean of the neighbours' spots."""
    weights = [(spots[cell], weight) for cell, weight in neighbours.items() if cell in spots]
    total = sum(weight for _, weight in weights)
    return sum(at * weight for at, weight in weights) / total if total else otherwise


def _beside_faint(name: str, links: Sequence[Link], column: Mapping[str, int]) -> int:
    """For a box that has faint links only: behind the last that leads there, else before the first that it leads to."""
    if behind := [column[link.source] + 1 for link in links if link.target == name]:
        return max(behind)
    return max(0, min((column[link.target] - 1 for link in links if link.source == name), default=0))


def _without_circles(names: Sequence[str], links: Sequence[Link]) -> dict[str, list[str]]:
    forward: dict[str, list[str]] = {name: [] for name in names}
    for link in links:
        if link.source not in _reached(forward, link.target):
            forward[link.source].append(link.target)
    return forward


def _reached(forward: Mapping[str, Sequence[str]], start: str) -> set[str]:
    found, open_ends = {start}, [start]
    while open_ends:
        fresh = [target for target in forward[open_ends.pop()] if target not in found]
        found.update(fresh)
        open_ends += fresh
    return found


def _topological(names: Sequence[str], forward: Mapping[str, Sequence[str]]) -> list[str]:
    done: list[str] = []

    def visit(name: str) -> None:
        if name not in done:
            for target in forward[name]:
                visit(target)
            done.append(name)

    for name in names:
        visit(name)
    return done[::-1]


def _ordered(rows: list[list[Cell]], near: Near) -> list[list[Cell]]:
    best, fewest = rows, _crossings(rows, near)
    order = [[*row] for row in rows]
    for sweep in range(SWEEPS):
        onward = sweep % 2 == 0
        for number in range(1, len(order)) if onward else range(len(order) - 2, -1, -1):
            order[number] = _by_neighbours(order[number], order[number - 1 if onward else number + 1], near)
        if (crossings := _crossings(order, near)) < fewest:
            best, fewest = [[*row] for row in order], crossings
    return best


def _by_neighbours(row: Sequence[Cell], beside: Sequence[Cell], near: Near) -> list[Cell]:
    spots, own = _spots(beside), _spots(row)
    return sorted(row, key=lambda cell: average(near.get(cell, {}), spots, own[cell]))


def _spots(row: Sequence[Cell]) -> dict[Cell, float]:
    return {cell: n / max(1, len(row) - 1) for n, cell in enumerate(row)}


def _crossings(rows: Sequence[Sequence[Cell]], near: Near) -> float:
    total = 0.0
    for left, right in pairwise(rows):
        spot = {cell: n for n, cell in enumerate(right)}
        steps = [(n, spot[to], weight) for n, cell in enumerate(left) for to, weight in near.get(cell, {}).items() if to in spot]
        for n, (a, b, weight) in enumerate(steps):
            total += sum(min(weight, w) for c, d, w in steps[n + 1 :] if (a - c) * (b - d) < 0)
    return total
