"""
The last release and this one alternately, round by round, each on its own servers: the change of a figure on the same machine.

Any benchmark can be run in this way, since it only has to start another `tallyhook`. The other programs (pgbench, a bare
loop) are measured in both turns, and show by how much the machine itself has changed between them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Result, Scale, Turn, Void, median, ratio
from benchmarks.saved import IN_TURN
from benchmarks.system import measuring
from ops.dev.processes import TALLYHOOK
from tests.release import last_release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.figures import Figure
    from benchmarks.system import Report

    Run = Callable[[Scale, Report], Result]


def run(benchmark: str, run_one: Run, scale: Scale, report: Report) -> Result:
    """Measure both releases alternately, `scale.rounds` times each. Raises Void if one of the runs is void."""
    rounds: dict[str, list[Result]] = {"last release": [], "this release": []}
    with tempfile.TemporaryDirectory(prefix="tallyhook-release-") as folder:
        programs = {"last release": last_release(Path(folder)), "this release": TALLYHOOK}
        for number in range(1, scale.rounds + 1):
            for name, program in programs.items():
                report(benchmark, f"turn {number} of {scale.rounds}: {name}")
                with measuring(program):
                    result = run_one(Scale(1, scale.share, with_peer=False), report)
                if result.void:
                    raise Void(f"{name}: {result.void[0]}")
                rounds[name].append(result)
    notes = dict.fromkeys(note for result in rounds["this release"] for note in result.notes)
    return Result(f"{benchmark}{IN_TURN}", notes=[*notes], turns=_turns(*rounds.values()))


def _turns(last: Sequence[Result], this: Sequence[Result]) -> list[Turn]:
    """Compare the figures that both releases have in every round: one may have processes or tables that the other lacks."""
    before, now = _by_name(last), _by_name(this)
    return [_turn(before[name], now[name]) for name in now if name in before]


def _by_name(results: Sequence[Result]) -> dict[str, list[Figure]]:
    """Return the figures by name, one for each round, in the order of the first round."""
    found: dict[str, list[Figure]] = {}
    for result in results:
        for figure in result.figures:
            found.setdefault(figure.name, []).append(figure)
    return {name: figures for name, figures in found.items() if len(figures) == len(results)}


def _turn(before: Sequence[Figure], now: Sequence[Figure]) -> Turn:
    first = now[0]
    old, new = ([figure.value for figure in figures] for figures in (before, now))
    return Turn(
        median(first.name, new, first.unit, first.aim),
        median(first.name, old, first.unit),
        ratio(first.name, new, old) if all(old) else None,
    )
