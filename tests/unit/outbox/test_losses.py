"""Losses of unread records, computed from committed offsets and from the offsets that Kafka has and had."""

from __future__ import annotations

from typing import Final

import pytest

from outbox.lost import Loss, TopicState, losses_of
from outbox.offsets import Place, Span

P0: Final = Place("t", 0)
SAME: Final = {"t": TopicState("id-1", (100,))}
EMPTY: Final = {"t": TopicState("id-1", ())}


@pytest.mark.parametrize(
    ("span", "committed", "before", "now", "loss"),
    [
        (Span(0, 100), 100, SAME, SAME, None),
        (Span(100, 100), 100, SAME, SAME, None),
        (Span(0, 100), None, SAME, SAME, None),
        (Span(60, 100), 60, SAME, SAME, None),
        (Span(0, 0), None, {}, {}, None),
        (Span(60, 100), 40, SAME, SAME, Loss("c", P0, 40, 60)),
        (Span(60, 100), 40, {}, SAME, Loss("c", P0, 40, 60)),
        (Span(60, 100), None, SAME, SAME, Loss("c", P0, 0, 60)),
        (Span(0, 30), 100, {}, SAME, Loss("c", P0, 0, 100, offsets_reused=True)),
        (Span(0, 80), 50, SAME, SAME, Loss("c", P0, 80, 100, offsets_reused=True)),
        (Span(0, 150), None, SAME, {"t": TopicState("id-2", (150,))}, Loss("c", P0, 0, 100, offsets_reused=True)),
        (Span(0, 150), 100, EMPTY, {"t": TopicState("id-2", (150,))}, Loss("c", P0, 0, 100, offsets_reused=True)),
        (Span(0, 5), None, {"t": TopicState("id-1", (0,))}, {"t": TopicState("id-2", (5,))}, None),
    ],
    ids=[
        "all read", "all read and gone by retention", "new", "the rest is there", "empty", "its beginning went",
        "never seen before", "before it was ever read", "its end went", "its end went and nobody was there yet",
        "made anew", "made anew, and committed", "made anew, and was empty",
    ],
)  # fmt: skip
def test_a_loss_is_the_unread_records_that_no_longer_exist(
    span: Span, committed: int | None, before: dict[str, TopicState], now: dict[str, TopicState], loss: Loss | None
) -> None:
    found = list(losses_of("c", {P0: span}, {} if committed is None else {P0: committed}, before, now))
    assert found == ([loss] if loss else [])
