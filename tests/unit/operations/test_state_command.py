"""The tables of `tallyhook leads list` and its siblings."""

from __future__ import annotations

from operations.state.command import _table


def test_times_are_shown_to_the_second_and_absent_values_as_a_dash() -> None:
    rows = [
        {"id": "1", "partnerId": "acme", "receivedAt": "2026-11-29T14:05:47.594000Z", "nextAttemptAt": None},
        {"id": "2", "partnerId": "acme", "receivedAt": "2026-11-29T14:05:47Z"},
    ]
    heads, *lines = (line.split() for line in _table("leads", rows).splitlines())
    shown = [dict(zip(heads, line, strict=True)) for line in lines]
    assert [(each["receivedAt"], each["nextAttemptAt"]) for each in shown] == [("2026-11-29T14:05:47Z", "-")] * 2


def test_an_empty_list_says_so() -> None:
    assert _table("leads", []) == "no leads match"
