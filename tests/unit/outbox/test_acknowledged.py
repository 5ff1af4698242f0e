"""Losses at the end of a log, by the offsets that Kafka acknowledges."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from outbox import acknowledged
from outbox.acknowledged import AcknowledgedOffsets, report_losses
from outbox.lost import Loss
from outbox.offsets import Place, Span
from schemas.topics import Topic

T0: Final = "t", 0


@pytest.mark.parametrize(
    ("offsets", "due"),
    [
        ([0, 1, 2, 7], []),
        ([5, None, 6], []),
        ([100, 149, 120], [Span(120, 150)]),
        ([100, 149, 120, 149], [Span(120, 150)]),
        ([100, 149, 120, 149, 150, 151], [Span(120, 150), Span(120, 151)]),
        ([149, 120, None, 160], [Span(120, 150), Span(120, 161)]),
        ([7, 7], [Span(7, 8)]),
        ([149, 120, 130, 110], [Span(120, 150), Span(110, 150)]),
        ([149, 120, 150, 130, 151], [Span(120, 150), Span(120, 151), Span(130, 151), Span(130, 152)]),
    ],
    ids=[
        "grows", "unknown after a retry", "shorter", "as long as before", "grown past its end", "grown past it at once",
        "one record", "shorter twice", "shorter again later",
    ],
)  # fmt: skip
def test_an_offset_that_is_acknowledged_twice_is_a_loss(offsets: list[int | None], due: list[Span]) -> None:
    kept, found = AcknowledgedOffsets(), []
    for offset in offsets:
        kept.note(*T0, offset)
        found += [kept.due.pop(T0)] if T0 in kept.due else []
    assert found == due


def test_a_log_that_outgrows_its_former_end_long_after_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that an operator has made again passes its former end after weeks: no worker was to be found by then."""
    clock = iter([0.0, acknowledged.GROWS_WITHIN])
    monkeypatch.setattr(acknowledged, "now", lambda: next(clock))
    kept = AcknowledgedOffsets()
    for offset in (149, 120):
        kept.note(*T0, offset)
    assert kept.due.pop(T0) == Span(120, 150)
    for offset in (150, 151):
        kept.note(*T0, offset)
    assert kept.due == {}


def test_each_partition_has_its_own_offsets() -> None:
    kept = AcknowledgedOffsets()
    for place in (T0, ("t", 1), ("u", 0)):
        kept.note(*place, 3)
    assert kept.due == {}
    kept.note("t", 1, 2)
    assert kept.due == {("t", 1): Span(2, 4)}


def test_a_loss_stays_due_until_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[list[Loss]] = []

    async def report(_: str, __: timedelta, losses: list[Loss]) -> None:
        reported.append(losses)
        if len(reported) == 1:
            raise ConnectionError

    monkeypatch.setattr(acknowledged, "_report", report)
    kept: Any = AcknowledgedOffsets()
    report_losses(kept, "", timedelta(seconds=1))
    assert reported == []
    kept.due[Topic.ALERTS, 2] = Span(7, 9)
    with pytest.raises(ConnectionError):
        report_losses(kept, "", timedelta(seconds=1))
    for _ in range(2):
        report_losses(kept, "", timedelta(seconds=1))
    assert reported == 2 * [[Loss("alerts", Place(Topic.ALERTS, 2), 7, 9, offsets_reused=True)]]
    assert kept.due == {}
