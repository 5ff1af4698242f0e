"""The shard of a key never changes, and the columns of a batch keep its order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.append import columns_of, event_of, shard_of
from runtime.ids import is_time_ordered, new_id
from runtime.tracing import Trace
from schemas.envelope import Event
from schemas.operations import AlertRaised
from schemas.registry import decode

AT: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
TRACE: Final = Trace("a" * 32, "b" * 16)


@pytest.mark.parametrize(
    ("key", "shard"),
    [("", 0), ("pi_1", 14), ("pi_2", 52), ("sub_1", 3), ("in_1", 30), ("é", 62), ("用户", 29)],
)
def test_a_key_keeps_its_shard_for_ever(key: str, shard: int) -> None:
    """If one of these changed, two relays could own one aggregate while two releases run together."""
    assert shard_of(key) == shard


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_key_has_a_shard(key: str) -> None:
    assert 0 <= shard_of(key) < 64


def test_the_columns_of_a_batch_are_its_fields_in_order() -> None:
    cause = new_id()
    first, second = (
        Event(
            id=new_id(),
            topic=f"topic-{n}",
            aggregate_type=f"aggregate-{n}",
            aggregate_id=f"pi_{n}",
            aggregate_version=n,
            source=f"source-{n}",
            type=f"type-{n}",
            dataschema=f"schema-{n}",
            occurred_at=AT,
            traceparent=f"trace-{n}",
            causation_id=cause if n == 1 else None,
            replay_id=cause if n == 2 else None,
            data=b"%d" % n,
            livemode=n == 1,
            account=f"acct_{n}",
            endpoint="eu" if n == 2 else None,
        )
        for n in (1, 2)
    )
    assert columns_of([first, second]) == [
        [first.id, second.id],
        ["topic-1", "topic-2"],
        ["aggregate-1", "aggregate-2"],
        ["pi_1", "pi_2"],
        [1, 2],
        ["source-1", "source-2"],
        ["type-1", "type-2"],
        ["schema-1", "schema-2"],
        [AT, AT],
        ["trace-1", "trace-2"],
        [cause, None],
        [b"1", b"2"],
        [True, False],
        ["acct_1", "acct_2"],
        [None, "eu"],
        [shard_of("pi_1"), shard_of("pi_2")],
        [None, cause],
    ]


def test_the_registered_type_of_a_record_decides_topic_and_schema() -> None:
    alert = AlertRaised(alert="a", subject="s", summary="it happened", runbook="runbooks/README.md")
    cause = new_id()
    event = event_of(alert, aggregate_id="a", source="/relay", occurred_at=AT, trace=TRACE, version=3, causation_id=cause)
    assert (event.topic, event.type, event.dataschema) == ("alert.events", "alert.raised", "urn:tallyhook:alert.raised:1")
    assert (event.aggregate_type, event.aggregate_id, event.aggregate_version) == ("alert", "a", 3)
    assert event.causation_id == cause
    assert event.traceparent.startswith(f"00-{'a' * 32}-")
    assert "b" * 16 not in event.traceparent
    assert is_time_ordered(event.id)
    assert decode(event.dataschema, event.data) == alert
