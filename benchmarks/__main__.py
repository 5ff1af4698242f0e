"""
The command line: `./dev bench [NAME]`, which is `python -m benchmarks [NAME]`; without a name it lists them.

Results are for people, for programs, and for README.md.
"""

from __future__ import annotations

import ast
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import capacity, small
from benchmarks.beside import WorkFailed
from benchmarks.figures import (
    Figure,  # msgspec reads the annotations
    Result,
    Scale,
    Void,
)
from ops.dev.progress import Progress
from ops.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Name(StrEnum):
    """The benchmarks; each is a module of this package with `run(scale, report)`."""

    INTAKE = "intake"
    RELAY = "relay"
    PAYMENTS = "payments"
    LEADS = "leads"
    SEARCH = "search"
    CACHE = "cache"
    JOURNEY = "journey"
    MEMORY = "memory"
    SCALING = "scaling"
    OUTAGE = "outage"
    WHOLE = "whole"
    IDLE = "idle"


EVERY: Final = "all"
RECKONED: Final = "capacity"
"""The name of the model, which reckons with what `whole` measured."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_TOLD = Console(stderr=True)


@app.command()
def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which one, or all; without it they are listed.", show_default=False)
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side; figures are medians.")] = 3,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the full sizes, for trying out.")] = 1.0,
    peer: Annotated[bool, typer.Option(help="Measure the Debezium outbox router beside our relay.")] = True,
    is_small: Annotated[
        bool,
        typer.Option("--small", help="Two rounds at a hundredth of the size, to see that they run."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    write_readme: Annotated[
        bool, typer.Option("--write", help="Put the figures into benchmarks/README.md (capacity: docs/scale.md).")
    ] = False,
) -> None:
    """
    Measure Tallyhook on servers of its own, as ratios to what the same machine reaches in the same minutes.

    A benchmark voids itself, and the exit code is 1, where what came out is not what went in.
    """
    if name is None:
        _list()
        return
    if name == RECKONED:
        _reckon(write_page=write_readme)
        return
    if name not in (EVERY, *Name):
        raise typer.BadParameter(f"there is no benchmark {name!r}; there are: {', '.join(Name)}, {EVERY}", param_hint="NAME")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    machine = this_machine()
    scale = small.SMALL if is_small else Scale(rounds, share, peer)
    results = []
    for result in _measured([*Name] if name == EVERY else [Name(name)], scale):
        results.append(result)
        if not as_json:
            show(Console(), result)
    report = Report(machine, scale.rounds, scale.share, results)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    if write_readme:
        write(report)
    if any(result.void for result in results):
        raise typer.Exit(1)


def _list() -> None:
    """Each name with what it measures: the first line of its module, which is not imported for that."""
    for name in Name:
        source = Path(__file__).with_name(f"{name}.py").read_text()
        print(f"{name:<10}{(ast.get_docstring(ast.parse(source)) or '').partition(chr(10))[0]}")
    print(f"{EVERY:<10}All of them, about an hour.")
    print(f"{RECKONED:<10}{(capacity.__doc__ or '').partition(chr(10))[0]}")


def _reckon(*, write_page: bool) -> None:
    text = capacity.tables(capacity.measured())
    print(text)
    if write_page:
        capacity.write(text)


def _measured(names: Sequence[Name], scale: Scale) -> Iterator[Result]:
    """Yield the results one after the other; many small ones are made side by side."""
    if scale is small.SMALL and len(names) > 1:
        with Progress(_TOLD) as progress:
            yield from small.run_all(names, progress.report)
    else:
        yield from (_measure(name, scale) for name in names)


def _measure(name: Name, scale: Scale) -> Result:
    module = import_module(f"benchmarks.{name}")
    with Progress(_TOLD) as progress:
        try:
            result: Result = module.run(scale, progress.report)
        except Void as void:
            result = Result(name, void=[str(void)])
    return result


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    try:
        app(prog_name="./dev bench")
    except (StackError, WorkFailed) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
