"""The output is a Mermaid flowchart: every line has a known form, and every edge joins existing nodes."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.unit.topology.looks import NOW, topology
from topology.mermaid import mermaid
from topology.view import Kafka, declared

ID: Final = r"([a-z][a-z_]*)"
TEXT: Final = r'"([^"\[\]{}|]+)"'
AGENT: Final = re.compile(rf"  {ID}(?:\(\[{TEXT}\]\)|\({TEXT}\)):::(outside|gateway|relay|worker)")
TOPIC: Final = re.compile(rf"  {ID}\[\[{TEXT}\]\]:::topic")
EDGE: Final = re.compile(rf'  {ID} (?:-->|-\.->)(?:\|"lag [\d,.kMG]+"\|)? {ID}')
STYLE: Final = re.compile(r"  classDef ([a-z]+) [a-z-]+:[^,]+(,[a-z-]+:[^,]+)*")
CLASS: Final = re.compile(rf"  class {ID}(,{ID})* (some|much|stopped)")
RESERVED: Final = {"end", "graph", "subgraph", "style", "class", "click", "default"}


def assert_flowchart(text: str, *, nodes: int, edges: int) -> None:
    head, *lines = text.splitlines()
    assert head == "flowchart LR"
    assert [line for line in lines if not any(form.fullmatch(line) for form in (AGENT, TOPIC, EDGE, STYLE, CLASS))] == []
    names = [match[1] for line in lines if (match := AGENT.fullmatch(line) or TOPIC.fullmatch(line))]
    ends = [match.groups() for line in lines if (match := EDGE.fullmatch(line))]
    assert (len(names), len(ends)) == (nodes, edges)
    assert len(set(names)) == nodes
    assert not RESERVED & set(names)
    assert {end for pair in ends for end in pair} <= set(names)
    classed = [name for line in lines if line.startswith("  class ") for name in line.split()[1].split(",")]
    assert set(classed) <= set(names)


@pytest.mark.parametrize("live", [True, False])
def test_it_is_a_flowchart_of_everything(live: bool) -> None:
    seen = topology({"webhooks.stripe": 7}) if live else declared(NOW, Kafka(live=False, reason="kafka_unavailable"))
    assert_flowchart(mermaid(seen), nodes=len(seen.agents) + len(seen.topics), edges=len(seen.edges))


def test_lag_is_written_on_its_edge_and_on_its_worker() -> None:
    text = mermaid(topology({"webhooks.stripe": 20_000}, idle=("search",)))
    assert '  webhooks_stripe -->|"lag 20.0k"| payments' in text
    assert '  payments("Payments<br/>1 process, lag 20.0k"):::worker' in text
    assert "  class payments,webhooks_stripe much" in text
    assert "  class search stopped" in text
