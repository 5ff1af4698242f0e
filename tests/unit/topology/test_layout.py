"""Boxes have their room, columns go one way, and links begin and end at their boxes; for ours and for any graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from schemas.topology import workers
from tests.unit.topology.looks import topology
from topology.drawing import Drawing, draw
from topology.layers import Box, Link
from topology.layout import Placed, place
from topology.view import around

NAMES = [f"b{n}" for n in range(9)]
graphs = some.lists(some.builds(Link, some.sampled_from(NAMES), some.sampled_from(NAMES), some.booleans()), max_size=20)


def test_a_chain_goes_from_left_to_right_at_one_height() -> None:
    boxes = [Box(name, 50, 20) for name in "abc"]
    placed = place(boxes, [Link("a", "b"), Link("b", "c")], column_gap=30)
    assert [placed.corners[name].x for name in "abc"] == [0, 80, 160]
    assert {round(placed.corners[name].y, 6) for name in "abc"} == {0}
    assert placed.ways[0] == [(50, 10), (80, 10)]


def test_a_long_link_passes_between_the_boxes_of_the_columns_on_its_way() -> None:
    boxes = [Box(name, 50, 20) for name in "abc"]
    placed = place(boxes, [Link("a", "b"), Link("b", "c"), Link("a", "c")], column_gap=30)
    way = placed.ways[2]
    inside = [point for point in way if 80 <= point.x <= 130]
    top, bottom = placed.corners["b"].y, placed.corners["b"].y + 20
    assert inside
    assert all(not top < point.y < bottom for point in inside)


def test_a_circle_has_one_link_back_that_ends_at_its_target() -> None:
    boxes = [Box("topic", 50, 20), Box("worker", 40, 20)]
    placed = place(boxes, [Link("topic", "worker"), Link("worker", "topic")], column_gap=30)
    assert (placed.ways[1][0].x, placed.ways[1][-1].x) == (placed.corners["worker"].x, placed.corners["topic"].x + 50)


@given(graphs)
def test_no_two_boxes_overlap_and_every_link_touches_its_boxes(links: list[Link]) -> None:
    links = [link for link in dict.fromkeys(links) if link.source != link.target]
    boxes = [Box(name, 40 + 7 * n, 20 + 3 * n) for n, name in enumerate(NAMES)]
    placed = place(boxes, links, column_gap=30)
    assert_apart(boxes, placed)
    for link, way in zip(links, placed.ways, strict=True):
        for name, end in ((link.source, way[0]), (link.target, way[-1])):
            box, corner = boxes[NAMES.index(name)], placed.corners[name]
            assert end.x == pytest.approx(corner.x) or end.x == pytest.approx(corner.x + box.width)
            assert corner.y <= end.y <= corner.y + box.height


def assert_apart(boxes: list[Box], placed: Placed) -> None:
    for n, one in enumerate(boxes):
        for other in boxes[n + 1 :]:
            a, b = placed.corners[one.name], placed.corners[other.name]
            beside = a.x + one.width <= b.x or b.x + other.width <= a.x
            above = a.y + one.height <= b.y + 1e-6 or b.y + other.height <= a.y + 1e-6
            assert beside or above, (one, other)


@pytest.mark.parametrize("scope", ["all", *(agent.name for agent in workers())])
def test_ours_reads_from_left_to_right(scope: str) -> None:
    seen = topology() if scope == "all" else around(topology(), scope)
    drawing = draw(seen)
    left = {shape.name: shape.x for shape in drawing.shapes}
    back = [edge for edge in seen.edges if not edge.trouble and left[edge.target] <= left[edge.source]]
    # What a worker says on a topic that it reads itself is the only way back.
    assert {(edge.source, edge.target) for edge in back} <= {("leads", "lead.partner.events")}
    assert_inside(drawing)


def assert_inside(drawing: Drawing) -> None:
    for shape in drawing.shapes:
        assert 0 <= shape.x <= shape.x + shape.width <= drawing.width
        assert 0 <= shape.y <= shape.y + shape.height <= drawing.height
        assert [one.x + one.width < other.x for one, other in pairwise(shape.strips)] == [True] * max(0, len(shape.strips) - 1)


def test_lag_and_idleness_are_on_the_drawing_in_numbers_and_levels() -> None:
    drawing = draw(
        topology({"webhooks.stripe": 7, "property.events": 990}, idle=("search",)), frozenset({("webhooks.stripe", 0)})
    )
    shapes = {shape.name: shape for shape in drawing.shapes}
    assert [(shapes[n].badge, shapes[n].level) for n in ("webhooks.stripe", "payments", "search")] == [
        ("7", "some"), ("7", "some"), ("990", "stopped"),
    ]  # fmt: skip
    assert shapes["search"].note == "nobody reads"
    first, second, *_ = shapes["webhooks.stripe"].strips
    assert (first.level, first.mine, second.level, second.mine) == ("some", True, "none", False)
    assert "committed 100003, lag 7" in first.tip
