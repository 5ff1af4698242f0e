"""Relays of these tests."""

import pytest

from outbox import held


@pytest.fixture(autouse=True)
def _unknown_topics_are_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Park the events of missing topics without the wait of a minute: this Kafka has no topic for alerts."""
    monkeypatch.setattr(held, "UNKNOWN_MAX", 0.0)
