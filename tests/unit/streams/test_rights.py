"""The missing rights of a role are reported as far as the brokers report them."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from outbox import rights
from runtime.kafka import Cluster
from streams.rights import Rights, _is_no_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

READ = frozenset({"READ", "DESCRIBE"})
SEEN = frozenset({"DESCRIBE"})


@pytest.fixture
def role() -> Rights:
    app: Any = SimpleNamespace(
        kafka=Cluster("kafka:9092", prefix="acme."),
        offsets=SimpleNamespace(admin=None),
        conf=SimpleNamespace(id="acme.tallyhook-cache"),
    )
    return Rights(app, ["cache.commands", "config.events"], 1.0)


def grant(monkeypatch: pytest.MonkeyPatch, on_topics: frozenset[str], on_groups: frozenset[str] | None) -> None:
    """Make the brokers report these rights; None is a silent coordinator."""

    def groups(_: object, names: Iterable[str]) -> rights.Granted:
        if on_groups is None:
            raise TimeoutError
        return dict.fromkeys(names, on_groups)

    monkeypatch.setattr(rights, "on_topics", lambda _, names: dict.fromkeys(names, on_topics))
    monkeypatch.setattr(rights, "on_groups", groups)


TOPICS = "this user lacks the right READ on the topics acme.cache.commands, acme.config.events"
GROUP = "this user lacks the right READ on the group acme.tallyhook-cache"


@pytest.mark.parametrize(
    ("on_topics", "on_groups", "found"),
    [
        (READ, READ, ([], True)),
        (SEEN, READ, ([TOPICS], True)),
        (READ, frozenset(), ([GROUP], True)),
        (SEEN, SEEN, ([TOPICS, GROUP], True)),
        (SEEN, None, ([TOPICS], False)),
        (READ, None, ([], False)),
    ],
)
def test_missing_rights_are_named_and_a_silent_coordinator_hides_no_topic(
    role: Rights,
    monkeypatch: pytest.MonkeyPatch,
    on_topics: frozenset[str],
    on_groups: frozenset[str] | None,
    found: tuple[list[str], bool],
) -> None:
    grant(monkeypatch, on_topics, on_groups)
    assert role._query() == found


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        ("Not authorized to read from topic cache.commands.", False),
        ("OffsetCommit failed for group g - GroupAuthorizationFailedError", False),
        ("Heartbeat failed for group g because it is rebalancing", True),
    ],
)
def test_lines_of_aiokafka_about_rights_are_left_out_and_no_others(line: str, *, logged: bool) -> None:
    assert _is_no_refusal(logging.LogRecord("aiokafka", logging.WARNING, "", 0, line, None, None)) is logged
