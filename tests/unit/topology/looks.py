"""Snapshots of a broker that does not exist, for tests of the code that reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from outbox.offsets import BrokerState, Group, Member, Place, Span
from schemas.topics import TOPICS
from schemas.topology import workers
from topology.view import joined

if TYPE_CHECKING:
    from topology.view import Topology

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)


def look(lags: dict[str, int] | None = None, *, idle: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> BrokerState:
    """Every partition holds offsets 10 to 100,010; of a topic in `lags` the first partition has so much left to read."""
    spans = {
        Place(topic, number): Span(10, 100_010)
        for topic, spec in TOPICS.items()
        for number in range(spec.partitions)
        if topic not in missing
    }
    groups = {}
    for agent in workers():
        places = [place for place in spans if place.topic in agent.consumes]
        left = {Place(topic, 0): lag for topic, lag in (lags or {}).items()}
        committed = {place: 100_010 - left.get(place, 0) for place in places}
        members = () if agent.name in idle else (Member(f"{agent.name}-1", "faust", "10.0.0.1", tuple(places)),)
        assert agent.group
        groups[agent.group] = Group(agent.group, "empty" if agent.name in idle else "stable", members, committed)
    return BrokerState(spans, groups)


def topology(lags: dict[str, int] | None = None, *, idle: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> Topology:
    return joined(look(lags, idle=idle, missing=missing), NOW)
