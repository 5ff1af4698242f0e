"""The page is self-contained, safe to show, and reports what is wrong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

from schemas.topology import AGENTS
from tests.unit.topology.looks import NOW, topology
from topology.levels import level_of, short
from topology.page import render
from topology.view import Kafka, declared


def svg_of(page: str) -> ET.Element:
    found = re.search(r"<svg.*</svg>", page, re.DOTALL)
    assert found
    return ET.fromstring(found[0])  # noqa: S314  # our own


def texts(page: str) -> list[str]:
    return [element.text or "" for element in svg_of(page).iter("{http://www.w3.org/2000/svg}text")]


def test_every_agent_and_topic_is_drawn() -> None:
    page = render(topology())
    assert {agent.title for agent in AGENTS.values()} | {topic.name for topic in topology().topics} <= set(texts(page))


def test_it_asks_no_other_server_for_anything() -> None:
    page = render(topology())
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|iframe|script src)|@import|url\((?!#)", page)


@pytest.mark.parametrize("fresh", [True, False])
def test_it_looks_again_by_itself_unless_it_is_to_be_kept(fresh: bool) -> None:
    page = render(topology(), fresh=fresh)
    assert ('http-equiv="refresh"' in page) is fresh
    assert f"const renewing = {'true' if fresh else 'false'}" in page


def test_lag_is_in_the_title_the_tiles_and_the_table() -> None:
    page = render(topology({"webhooks.stripe": 1234}))
    assert "<title>topology · Tallyhook · lag 1,234</title>" in page
    assert re.search(r'class="tile much"><b>1,234</b>', page)
    assert re.search(r'number lag much" data-of="Lag">1,234</td>', page)
    assert texts(page).count("1,234") == 2


def test_without_kafka_it_shows_that_and_the_declared_graph() -> None:
    page = render(declared(NOW, Kafka(live=False, reason="kafka_unavailable", detail="Kafka does not answer at k:9092")))
    assert "<b>kafka_unavailable</b>: Kafka does not answer at k:9092" in page
    assert "billing.payment.events" in texts(page)
    assert not re.search(r"\b0</b>", page)


def test_a_topic_without_a_reader_and_a_missing_topic_are_marked() -> None:
    page = render(topology({"property.events": 3}, idle=("search",), missing=("config.events",)))
    assert "none (empty)" in page
    assert re.search(r'class="tile stopped"><b>5 of 6</b>', page)
    assert "topics are missing: tallyhook topics ensure" in page


def test_names_from_the_broker_are_escaped() -> None:
    seen = topology()
    evil = '<script>alert("x")</script>'
    agents = [
        msgspec.structs.replace(agent, group=agent.group and msgspec.structs.replace(agent.group, state=evil, name=evil))
        for agent in seen.agents
    ]
    page = render(msgspec.structs.replace(seen, agents=agents, kafka=Kafka(live=False, reason=evil, detail=evil)))
    assert evil not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9999, "9,999"), (10_000, "10.0k"), (123_456, "123k"), (4_500_000, "4.5M"), (7 * 10**9, "7.0G")],
)
def test_numbers_are_exact_while_there_is_room(number: int, text: str) -> None:
    assert short(number) == text


def test_levels_of_lag() -> None:
    assert [level_of(lag) for lag in (None, 0, 1, 999, 1000)] == ["unknown", "none", "some", "some", "much"]
