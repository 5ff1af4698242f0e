"""Results for people, for programs, and for README.md."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import psutil
from rich.table import Table

from benchmarks.figures import Figure, Result  # noqa: TC001  # msgspec reads the annotations

if TYPE_CHECKING:
    from rich.console import Console

README: Final = Path(__file__).with_name("README.md")
_BEGIN: Final = "<!-- figures: written by `./dev bench all --write` -->"
_END: Final = "<!-- end of figures -->"
_GIB: Final = 1024**3


class Machine(msgspec.Struct, frozen=True):
    """The place and time of a measurement."""

    date: str
    cores: int
    memory_gib: int
    processor: str
    system: str
    python: str
    load: float
    """The load average (1 minute) before the first benchmark: much above 0 means that something else was running."""


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """One run of the benchmarks; `share` below 1 marks a run of reduced size."""

    machine: Machine
    rounds: int
    share: float
    results: list[Result]


def this_machine() -> Machine:
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cores=os.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / _GIB),
        processor=_processor(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
    )


def show(console: Console, result: Result) -> None:
    """The result as a table."""
    table = Table(title=f"{result.benchmark}{' — VOID' if result.void else ''}", title_justify="left", title_style="bold")
    for heading, side in (("", "left"), ("median", "right"), ("range", "right"), ("", "left"), ("aim", "right"), ("", "left")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]  # rich's own words
    for figure in result.figures:
        table.add_row(*_cells(figure, void=bool(result.void)))
    console.print(table)
    for line in (*(f"void: {reason}" for reason in result.void), *result.notes):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def write(report: Report) -> None:
    """Put the figures into README.md, between their markers."""
    before, _, rest = README.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    README.write_text(f"{before}{_BEGIN}\n{_as_markdown(report)}{_END}{after}")


def _as_markdown(report: Report) -> str:
    machine = report.machine
    place = f"{machine.cores} cores, {machine.memory_gib} GiB, {machine.processor}, {machine.system}, Python {machine.python}"
    size = "" if report.share == 1 else f" Sizes reduced to {report.share:g} of those above: not comparable."
    lines = [
        f"{machine.date}, {place}. Rounds a figure: {report.rounds}; load before: {machine.load}.{size}",
        "",
        "| benchmark | figure | median | range | aim | |",
        "|---|---|---:|---:|---:|---|",
    ]
    for result in report.results:
        void = bool(result.void)
        for figure in result.figures:
            name, value, spread, unit, aim, verdict = _cells(figure, void=void)
            lines.append(f"| {result.benchmark} | {name} | {value} {unit} | {spread} | {aim} | {verdict} |")
        lines += [f"| {result.benchmark} | **void**: {reason} | | | | |" for reason in result.void]
    notes = [f"- {result.benchmark}: {note}" for result in report.results for note in result.notes]
    return "\n".join([*lines, "", *notes]) + "\n"


def _cells(figure: Figure, *, void: bool) -> tuple[str, str, str, str, str, str]:
    spread = "" if figure.low is None or figure.high is None else f"{_number(figure.low)} - {_number(figure.high)}"
    verdict = "void" if void else {None: "", True: "met", False: "missed"}[figure.met]
    return figure.name, _number(figure.value), spread, figure.unit, str(figure.aim or ""), verdict


_WHOLE_FROM: Final = 100


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
