"""The start of a replay, the offsets that it would move, and its refusals: decided without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from operations.errors import OperationError
from operations.offset_replay import live, scan, shadow
from operations.offset_replay.bounds import Beginning, End, Moment, Numbers, Start, start_of, stop_of
from operations.offset_replay.plan import Positions, moves_of, refuse_live, stops_of
from outbox.offsets import Group, Member, Place, Span
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from schemas.topology import worker, workers
from streams.records import Record

if TYPE_CHECKING:
    from uuid import UUID

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)
P0, P1, P2 = (Place("t", number) for number in range(3))


def positions(**changes: Any) -> Positions:
    """Two partitions with offsets 100 to 200, read up to 150; a third that holds nothing and was never read."""
    found = Positions(
        topic="t",
        spans={P0: Span(100, 200), P1: Span(100, 200), P2: Span(0, 0)},
        group=Group("tallyhook-payments", "empty", (), {P0: 150, P1: 150}),
        at={},
        unfinished={},
    )
    return found._replace(**changes)


def targets(start: Start, **changes: Any) -> dict[Place, tuple[int, int]]:
    return {move.place: (move.target, move.until) for move in moves_of(start, positions(**changes))}


def reason(call: Any, *arguments: Any) -> str:
    with pytest.raises(OperationError) as refused:
        call(*arguments)
    return refused.value.reason


def test_from_the_start_is_from_where_the_log_begins() -> None:
    assert targets(Beginning()) == {P0: (100, 150), P1: (100, 150)}


def test_partitions_that_are_not_named_stay() -> None:
    assert targets(Numbers({1: 120})) == {P0: (150, 150), P1: (120, 150)}


def test_a_moment_moves_back_and_never_forward() -> None:
    assert targets(Moment(NOW), at={P0: 110, P1: 190, P2: 0}) == {P0: (110, 150), P1: (150, 150)}


def test_a_replay_that_is_not_read_to_its_end_keeps_its_end() -> None:
    moved = Group("tallyhook-payments", "empty", (), {P0: 120, P1: 150})
    assert targets(Numbers({0: 130}), group=moved, unfinished={P0: 150}) == {P0: (130, 150), P1: (150, 150)}


def test_a_log_that_has_lost_committed_records_is_not_read_again() -> None:
    old = Group("tallyhook-payments", "empty", (), {P0: 50})
    assert targets(Beginning(), group=old) == {P0: (50, 50)}


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({0: 99}, "offset_outside_log"),
        ({0: 201}, "offset_outside_log"),
        ({0: 151}, "events_skipped"),
        ({2: 0}, "never_read"),
        ({3: 0}, "partition_unknown"),
    ],
)
def test_offsets_that_cannot_be_gone_back_to_are_refused(numbers: dict[int, int], word: str) -> None:
    assert reason(moves_of, Numbers(numbers), positions()) == word


def test_a_group_that_has_read_nothing_has_nothing_to_read_again() -> None:
    assert moves_of(Beginning(), positions(group=Group("g", "dead", (), {}))) == []


def test_a_group_with_members_is_refused_and_they_are_named() -> None:
    member = Member("id", "faust-1", "10.0.0.7", ())
    with pytest.raises(OperationError, match=r"stable: faust-1 at 10\.0\.0\.7\. Stop every payments worker") as refused:
        refuse_live(Group("tallyhook-payments", "stable", (member,), {}))
    assert refused.value.reason == "group_live"
    assert reason(refuse_live, Group("g", "preparing_rebalancing", (), {})) == "group_live"
    refuse_live(Group("g", "empty", (), {}))


@pytest.mark.parametrize(
    ("offsets", "time", "beginning", "start"),
    [
        ([], None, True, Beginning()),
        (["0:12", "3:0"], None, False, Numbers({0: 12, 3: 0})),
        ([], "90m", False, Moment(NOW - timedelta(minutes=90))),
        ([], "20261124", False, Moment(datetime(2026, 11, 24, tzinfo=UTC))),
        ([], "2026-11-24T17:30:00Z", False, Moment(datetime(2026, 11, 24, 17, 30, tzinfo=UTC))),
        ([], "2026-11-24T17:30", False, Moment(datetime(2026, 11, 24, 17, 30, tzinfo=UTC))),
        ([], "2026-11-24T17:30+02:00", False, Moment(datetime(2026, 11, 24, 15, 30, tzinfo=UTC))),
    ],
)
def test_a_beginning_as_it_is_written(offsets: list[str], time: str | None, beginning: bool, start: Start) -> None:
    assert start_of(offsets, time, beginning=beginning, now=NOW) == start


@pytest.mark.parametrize(
    ("offsets", "time", "beginning"),
    [
        ([], None, False), (["0:1"], None, True), ([], "1h", True), (["1"], None, False), (["a:1"], None, False),
        (["0:-1"], None, False), (["0:1", "0:2"], None, False), ([], "yesterday", False), (["²:1"], None, False),
        (["3:" + "9" * 5000], None, False), (["٣:1"], None, False), (["9999999999:1"], None, False), (["3:1\n"], None, False),
        ([], "1795514400", False), ([], "1795514400000", False), ([], "1712051412345", False), ([], "3600", False),
    ],
)  # fmt: skip
def test_a_beginning_that_means_nothing_is_refused(offsets: list[str], time: str | None, beginning: bool) -> None:
    with pytest.raises(OperationError) as refused:
        start_of(offsets, time, beginning=beginning, now=NOW)
    assert refused.value.reason == "bound_malformed"


def test_an_end_as_it_is_written() -> None:
    assert stop_of([], NOW) == stop_of(["end"], NOW) == End()
    assert stop_of(["0:150", "1:160"], NOW) == Numbers({0: 150, 1: 160})
    assert stop_of(["10m"], NOW) == Moment(NOW - timedelta(minutes=10))
    assert stop_of(["17:30"], NOW) == Numbers({17: 30})
    assert reason(stop_of, ["end", "0:1"], NOW) == "bound_malformed"


def test_ends_lie_within_the_log() -> None:
    assert stops_of(End(), positions()) == {P0: 200, P1: 200, P2: 0}
    assert stops_of(Numbers({1: 160}), positions()) == {P1: 160}
    assert reason(stops_of, Numbers({1: 260}), positions()) == "offset_outside_log"


def record(offset: int, event_id: UUID | None = None) -> Record:
    event = Event(
        id=event_id or new_id(), topic="t", aggregate_id="k", source="/t", type="t", occurred_at=NOW, dataschema="urn:t:1",
        traceparent=new_trace().traceparent, data=b"{}",
    )  # fmt: skip
    return Record("t", 0, offset, b"k", b"{}", [(name, str(value).encode()) for name, value in to_headers(event)])


def test_records_are_counted_by_the_effect_of_reading_them_again() -> None:
    today, known, twice, once = datetime.now(UTC).date(), new_id(), new_id(), new_id()
    batch = [record(0, known), record(1, twice), record(2, twice), record(3, once), Record("t", 0, 4, None, b"x", [])]
    advanced: list[int] = []
    counts = scan.count([batch[:2], batch[2:]], lambda ids: {known} & set(ids), {today}, advanced.append)
    assert counts == {P0: scan.Count(records=5, marked=2, fresh=2, unreadable=1, ids={twice, once})}
    assert advanced == [2, 3]


def test_a_range_with_an_event_whose_marks_are_gone_is_refused_with_the_offset_after_which_it_is_none() -> None:
    counts = scan.count([[record(5), record(6), record(7)]], lambda _: set(), set(), lambda _: None)
    assert [offset for offset, _ in counts[P0].unmarkable] == [5, 7]
    with pytest.raises(OperationError, match=r"at offset 5, and marks are kept from no day: .*Begin after offset 7") as refused:
        scan.refuse_unmarkable(counts, set())
    assert refused.value.reason == "range_outside_retention"


def test_a_worker_or_topic_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(OperationError, match="there are: alerts, cache, leads, notifications, payments, search"):
        live.check(live.Target("billing", "t"))
    with pytest.raises(OperationError, match=r"payments reads webhooks\.stripe and webhooks\.razorpay"):
        live.check(live.Target("payments", "billing.payment.events"))
    live.check(live.Target("payments", worker("payments").consumes[0]))


@pytest.mark.parametrize("name", [each.name for each in workers() if each.name not in shadow.BUILDABLE])
def test_a_worker_without_a_shadow_gives_the_reason(name: str) -> None:
    with pytest.raises(OperationError, match=f"{name} has no shadow: it") as refused:
        shadow.refuse_unbuildable(name)
    assert refused.value.reason == "shadow_impossible"
