"""The declared graph is consistent, and the workers read the topics that it declares."""

from __future__ import annotations

import pytest

from ops.processes.worker import ROLES
from schemas.registry import EVENT_TYPES
from schemas.topics import TOPICS
from schemas.topology import AGENTS, TROUBLE, edges, worker, workers


def test_every_worker_is_declared_and_reads_what_is_declared_under_its_group() -> None:
    assert {agent.name for agent in workers()} == set(ROLES)
    for name, role in ROLES.items():
        assert role.topics == worker(name).consumes
        assert role.group == worker(name).group == f"tallyhook-{name}"


def test_topics_and_agents_share_no_name_and_edges_lead_from_one_to_another() -> None:
    topics = {str(topic) for topic in TOPICS}
    assert not topics & set(AGENTS)
    for edge in edges():
        assert {edge.source, edge.target} <= topics | set(AGENTS)
    assert len({*edges()}) == len([*edges()])


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_a_writer(topic: str) -> None:
    assert [edge for edge in edges() if edge.target == topic]


def test_every_type_of_ours_goes_to_a_topic_with_a_writer() -> None:
    written = {edge.target for edge in edges() if edge.tie == "produces"}
    assert {kind.topic for kind in EVENT_TYPES.values()} <= written


def test_every_worker_declares_what_it_sets_aside() -> None:
    for agent in workers():
        assert set(TROUBLE) <= set(agent.produces)
