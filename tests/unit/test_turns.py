"""Two releases in turn: the `tallyhook` of each round, the comparison, and the saved results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import saved, turns
from benchmarks.figures import Aim, Figure, Result, Scale, Void
from benchmarks.system import measured
from ops.dev.processes import TALLYHOOK

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.system import Report


@pytest.fixture(autouse=True)
def last(monkeypatch: pytest.MonkeyPatch) -> str:
    """A `tallyhook` in place of the last release, which needs no commit."""
    monkeypatch.setattr(turns, "last_release", lambda _: "last")
    return "last"


def quiet(*_: str) -> None: ...


def test_each_round_measures_the_last_release_and_then_this_one_without_peers() -> None:
    runs: list[tuple[str, Scale]] = []

    def run(scale: Scale, _: Report) -> Result:
        runs.append((measured(), scale))
        return Result("relay", [Figure("drain", 1, "x")])

    turns.run("relay", run, Scale(2, 0.5), quiet)
    assert runs == [(program, Scale(1, 0.5, with_peer=False)) for program in ("last", TALLYHOOK) * 2]
    assert measured() == TALLYHOOK


def test_figures_of_both_are_compared_pair_by_pair() -> None:
    values = iter((10, 20, 40, 40, 20, 10))

    def run(_: Scale, __: Report) -> Result:
        figures = [Figure("p50", next(values), "ms", aim=Aim(at_most=5)), Figure("failures", 0, "")]
        mine = [Figure("of all roles", 1, "x")] if measured() == TALLYHOOK else []
        return Result("journey", [*figures, *mine], ["100 a second"])

    result = turns.run("journey", run, Scale(3), quiet)
    latency, failures = result.turns
    assert latency.now == Figure("p50", 20, "ms", 10, 40, Aim(at_most=5))
    assert latency.before == Figure("p50", 20, "ms", 10, 40)
    assert latency.ratio == Figure("p50", 1, "x", 0.5, 2)
    assert failures.now.name == "failures"
    assert failures.ratio is None  # the last release had none
    assert result.notes == ["100 a second"]


def test_a_round_that_does_not_count_ends_it_and_names_the_release() -> None:
    with pytest.raises(Void, match=r"^last release: rows: 2 where 1 went in$"):
        turns.run("relay", lambda *_: Result("relay", void=["rows: 2 where 1 went in"]), Scale(), quiet)
    assert measured() == TALLYHOOK


def test_kept_results_have_their_own_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(saved, "RESULTS", tmp_path)
    values = iter((20.0, 10.0))
    result = turns.run("idle", lambda *_: Result("idle", [Figure("relay", next(values), "MiB")]), Scale(1), quiet)
    saved.save(saved.Report(saved.this_machine(), 1, 1.0, [result]))
    table = saved.tables(["idle"])
    assert table.startswith("### idle, in turn with the last release\n")
    assert "\n| relay | 20.00 MiB | 10.00 MiB | 0.50 |  |  |  |\n" in table
