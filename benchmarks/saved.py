"""The saved figures: a file for each benchmark in `results/`, and README.md, which is written from all of them."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import psutil

from benchmarks.figures import Figure, Result, Turn  # noqa: TC001  # msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable

README: Final = Path(__file__).with_name("README.md")
RESULTS: Final = Path(__file__).with_name("results")
IN_TURN: Final = "-in-turn"
"""The suffix of a run that measured the last release and this one alternately."""
_BEGIN: Final = "<!-- figures: written by `./dev bench NAME --write` -->"
_END: Final = "<!-- end of figures -->"
_GIB: Final = 1024**3
_QUIET: Final = 0.5
"""The load average above which another program was running."""
_ADDITIONS: Final = 1_000_000
_ENOUGH: Final = 0.2
"""The share of the full sizes below which figures mean little."""


class Machine(msgspec.Struct, frozen=True):
    """The machine and the time of a measurement."""

    date: str
    cores: int
    memory_gib: int
    processor: str
    system: str
    python: str
    load: float
    """The load average (1 minute) before the first benchmark: a value far above 0 means that another program was running."""
    speed: float | None = None
    """Millions of numbers that Python adds in a second of processor time: a shared machine has fast and slow hours."""


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """One run of benchmarks; `share` below 1 marks a run of reduced size."""

    machine: Machine
    rounds: int
    share: float
    results: list[Result]

    @property
    def counts(self) -> bool:
        """True if the machine was quiet, the size was large enough, and nothing is void."""
        is_void = any(result.void for result in self.results)
        return self.machine.load <= _QUIET and self.share >= _ENOUGH and not is_void

    @property
    def origin(self) -> str:
        """Return one sentence about machine, time and size."""
        machine = self.machine
        place = f"{machine.cores} cores, {machine.memory_gib} GiB, {machine.processor}, {machine.system}, Python {machine.python}"
        size = "" if self.share == 1 else f"; {self.share:g} of the full size"
        speed = f"; {machine.speed:g} million additions a second" if machine.speed else ""
        text = f"{machine.date}, {place}. Rounds a figure: {self.rounds}; load before: {machine.load:g}{speed}{size}."
        return text if self.counts else f"{text} **The machine was busy or the size small: do not rely on these figures.**"


def this_machine() -> Machine:
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / _GIB),
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
        speed=_speed(),
    )


def _speed() -> float:
    total, began = 0, time.process_time()
    for number in range(_ADDITIONS):
        total += number
    return round(_ADDITIONS / 1e6 / (time.process_time() - began), 1)


def load(name: str) -> Report | None:
    """Return the last saved run of a benchmark."""
    path = RESULTS / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Report) if path.exists() else None


def save(report: Report) -> None:
    """Save a run of one benchmark, in place of the previous one."""
    [result] = report.results
    path = RESULTS / f"{result.benchmark}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def write_readme(names: Iterable[str]) -> None:
    """Write the saved figures of these benchmarks to README.md, between their markers."""
    before, _, rest = README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    README.write_text(f"{before}{_BEGIN}\n{tables(names)}{_END}{after}")


def figures_in_readme() -> str:
    """Return the part of README.md that `write_readme` writes."""
    return README.read_text().partition(_BEGIN)[2].partition(_END)[0].removeprefix("\n")


def tables(names: Iterable[str]) -> str:
    """Return the tables of the benchmarks, and of their runs that alternate with the last release, as Markdown with notes."""
    runs = ((name, saved_as) for name in names for saved_as in (name, f"{name}{IN_TURN}"))
    return "\n".join(_table(name, report) for name, saved_as in runs if (report := load(saved_as)))


def _table(name: str, report: Report) -> str:
    [result] = report.results
    lines = [
        f"### {name}, in turn with the last release" if result.turns else f"### {name}",
        "",
        report.origin,
        "",
        *(_turns_of(result) if result.turns else _figures_of(result)),
        *(f"| **void**: {reason} | | | | |" for reason in result.void),
        "",
        *(f"- {note}" for note in result.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figures_of(result: Result) -> list[str]:
    rows = [cells_of(figure, void=bool(result.void)) for figure in result.figures]
    return [
        "| figure | median | range | aim | |",
        "|---|---:|---:|---:|---|",
        *(f"| {what} | {value} {unit} | {spread} | {aim} | {verdict} |" for what, value, spread, unit, aim, verdict in rows),
    ]


def _turns_of(result: Result) -> list[str]:
    return [
        "| figure | last release | this release | this ÷ last | range | aim | |",
        "|---|---:|---:|---:|---:|---:|---|",
        *(f"| {' | '.join(turn_cells_of(turn))} |" for turn in result.turns),
    ]


def cells_of(figure: Figure, *, void: bool) -> tuple[str, str, str, str, str, str]:
    """Return name, value, range, unit, aim and verdict of a figure as texts."""
    spread = "" if figure.low is None or figure.high is None else f"{_number(figure.low)} - {_number(figure.high)}"
    verdict = "void" if void else {None: "", True: "met", False: "missed"}[figure.met]
    return figure.name, _number(figure.value), spread, figure.unit, str(figure.aim or ""), verdict


def turn_cells_of(turn: Turn) -> tuple[str, str, str, str, str, str, str]:
    """Return name, value of the last release and of this one, their ratio and its range, aim and verdict, as texts."""
    name, value, _, unit, aim, verdict = cells_of(turn.now, void=False)
    _, times, spread, *_ = cells_of(turn.ratio, void=False) if turn.ratio else ("", "", "")
    return name, f"{_number(turn.before.value)} {unit}", f"{value} {unit}", times, spread, aim, verdict


_WHOLE_FROM: Final = 100


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
