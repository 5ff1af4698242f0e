"""The declared graph joined with the broker's state: every number is from the broker, and no part of the graph is lost."""

from __future__ import annotations

import msgspec
import pytest

from schemas.topics import TOPICS
from schemas.topology import AGENTS, edges, workers
from tests.unit.topology.looks import NOW, look, topology
from topology.view import Kafka, Topology, around, declared, joined


def test_lags_add_up_from_the_partition_to_the_whole() -> None:
    seen = topology({"webhooks.stripe": 7, "lead.commands": 30, "lead.partner.events": 5})
    assert seen.lag == 42
    groups = {agent.name: agent.group.lag for agent in seen.agents if agent.group}
    assert groups == dict.fromkeys(groups, 0) | {"payments": 7, "leads": 35}
    assert {(e.source, e.target): e.lag for e in seen.edges if e.lag} == {
        ("webhooks.stripe", "payments"): 7, ("lead.commands", "leads"): 30, ("lead.partner.events", "leads"): 5,
    }  # fmt: skip
    [first] = [p for p in seen.partitions if p.topic == "webhooks.stripe" and p.partition == 0]
    assert (first.begin, first.end) == (10, 100_010)
    [reader] = first.readers
    assert (reader.agent, reader.committed, reader.lag, reader.member) == ("payments", 100_003, 7, "payments-1")
    assert sum(reader.lag for partition in seen.partitions for reader in partition.readers) == 42


def test_a_group_without_a_commit_has_its_lag_from_the_beginning() -> None:
    seen = look()
    groups = {name: group._replace(committed={}) for name, group in seen.groups.items()}
    found = joined(seen._replace(groups=groups), NOW)
    lags = {agent.name: agent.group.lag for agent in found.agents if agent.group}
    assert lags["payments"] == 16 * 100_000
    assert all(reader.committed is None for partition in found.partitions for reader in partition.readers)


def test_a_topic_that_the_broker_does_not_have_is_missing_and_keeps_its_place() -> None:
    seen = topology(missing=("config.events",))
    [topic] = [topic for topic in seen.topics if topic.name == "config.events"]
    assert (topic.missing, topic.partitions, topic.records) == (True, 1, 0)
    assert [topic.name for topic in seen.topics] == [str(topic) for topic in TOPICS]


@pytest.mark.parametrize("seen", [topology(), declared(NOW, Kafka(live=False, reason="kafka_unavailable"))])
def test_the_graph_is_whole_with_and_without_a_broker_and_its_json_fits_the_record(seen: Topology) -> None:
    assert {agent.name for agent in seen.agents} == set(AGENTS)
    assert [(e.source, e.target, e.tie) for e in seen.edges] == [tuple(edge) for edge in edges()]
    assert all(edge.via == "relay" for edge in seen.edges if edge.tie == "produces")
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Topology) == seen


def test_without_a_broker_no_number_is_made_up() -> None:
    seen = declared(NOW, Kafka(live=False, reason="kafka_unavailable"))
    assert (seen.lag, seen.partitions) == (None, [])
    assert all(topic.lag is topic.end is None for topic in seen.topics)
    assert all(agent.group.state is agent.group.lag is None for agent in seen.agents if agent.group)


@pytest.mark.parametrize("name", [agent.name for agent in workers()])
def test_the_surroundings_of_a_worker_are_its_topics_with_their_writers_and_readers(name: str) -> None:
    part = around(topology({"webhooks.stripe": 7}), name)
    agent = AGENTS[name]
    assert {topic.name for topic in part.topics} == {*agent.consumes, *agent.produces}
    assert {partition.topic for partition in part.partitions} == {topic.name for topic in part.topics}
    assert part.lag == (7 if name == "payments" else 0)
    names = {agent.name for agent in part.agents} | {topic.name for topic in part.topics}
    assert {edge.source for edge in part.edges} | {edge.target for edge in part.edges} == names
