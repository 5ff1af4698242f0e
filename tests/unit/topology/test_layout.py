"""Boxes do not overlap, lanes go one way, and curves begin and end at their boxes."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from schemas.topology import workers
from tests.unit.topology.looks import NOW, topology
from topology.drawing import OUTBOX, Drawing, Shape, Station, Way, draw, lanes_of
from topology.view import Kafka, Topology, around, declared

SCOPES = ["all", *(agent.name for agent in workers())]


def seen_of(scope: str) -> Topology:
    return topology() if scope == "all" else around(topology(), scope)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_two_boxes_overlap(scope: str) -> None:
    for one, other in combinations(draw(seen_of(scope)).shapes, 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        above = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert beside or above, (one.name, other.name)


def test_the_outbox_is_between_the_gateway_and_the_relay_and_moves_no_other_lane() -> None:
    plain, drawing = draw(topology()), draw(topology(), way=Way(Station("3 wait", "some", "3"), Station("no process", "stopped")))
    shapes = {shape.name: shape for shape in drawing.shapes}
    gateway, outbox, relay = (shapes[name] for name in ("gateway", OUTBOX, "relay"))
    assert gateway.y + gateway.height < outbox.y < outbox.y + outbox.height < relay.y
    assert ((outbox.note, outbox.level, outbox.badge), (relay.note, relay.level)) == (
        ("3 wait", "some", "3"),
        ("no process", "stopped"),
    )
    assert {*shapes} == {shape.name for shape in plain.shapes} | {OUTBOX}
    assert len(drawing.curves) == len(plain.curves) + 2
    for one, other in combinations(drawing.shapes, 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert beside or one.y + one.height <= other.y or other.y + other.height <= one.y, (one.name, other.name)


@pytest.mark.parametrize("scope", SCOPES)
def test_every_curve_begins_and_ends_at_the_sides_of_its_boxes(scope: str) -> None:
    drawing = draw(seen_of(scope))
    shapes = {shape.name: shape for shape in drawing.shapes}
    assert len(drawing.curves) == len(seen_of(scope).edges)
    for curve in drawing.curves:
        numbers = [float(number) for number in curve.path.replace("M", " ").replace("C", " ").split()]
        for name, (x, y) in ((curve.source, numbers[:2]), (curve.target, numbers[-2:])):
            assert at_a_side(shapes[name], x, y), (curve.source, curve.target)


def at_a_side(shape: Shape, x: float, y: float) -> bool:
    sides = (shape.x, shape.x + shape.width)
    return any(x == pytest.approx(side, abs=0.1) for side in sides) and shape.y < y < shape.y + shape.height


def test_the_lanes_follow_the_way_of_an_event() -> None:
    lanes = lanes_of(topology())
    way = ["stripe", "gateway", "webhooks.stripe", "payments", "notification.commands", "notifications", "channels"]
    assert [lanes[name] for name in way] == [*range(7)]
    assert lanes["billing.payment.events"] == lanes["crms"] == lanes["redis"] == 4
    assert lanes["dead-letters"] == 6


def test_without_a_broker_the_drawing_is_the_same() -> None:
    known, unknown = draw(topology()), draw(declared(NOW, Kafka(live=False)))
    assert [shape[:6] for shape in known.shapes] == [shape[:6] for shape in unknown.shapes]


@pytest.mark.parametrize("scope", SCOPES)
def test_ours_reads_from_left_to_right(scope: str) -> None:
    seen = seen_of(scope)
    drawing = draw(seen)
    left = {shape.name: shape.x for shape in drawing.shapes}
    back = [edge for edge in seen.edges if not edge.trouble and left[edge.target] <= left[edge.source]]
    # A worker that emits to a topic that it reads itself is the only edge that goes back.
    assert {(edge.source, edge.target) for edge in back} <= {("leads", "lead.partner.events"), ("payments", "webhooks.stripe")}
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
    assert shapes["search"].note == "no process"
    first, second, *_ = shapes["webhooks.stripe"].strips
    assert (first.level, first.mine, second.level, second.mine) == ("some", True, "none", False)
    assert "committed 100003, lag 7" in first.tip
