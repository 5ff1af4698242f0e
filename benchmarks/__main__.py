"""
The command line `./dev bench [NAME]`, which is `python -m benchmarks [NAME]`; without a name it lists the benchmarks.

Results are for people, for programs, and for README.md.
"""

from __future__ import annotations

import ast
import signal
import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from benchmarks import capacity, small, turns
from benchmarks.failures import FAILURES, reason_of
from benchmarks.figures import Result, Scale, Void
from benchmarks.other_process import WorkFailed
from benchmarks.saved import Report, cells_of, save, this_machine, turn_cells_of, write_readme
from ops.dev.progress import Progress
from ops.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import JustifyMethod


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
    GROWTH = "growth"
    IDLE = "idle"


ALL: Final = "all"
MODEL: Final = "capacity"
"""The name of the capacity model, which calculates with the costs that `whole` measured."""


_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    ("", "left"), ("median", "right"), ("range", "right"), ("", "left"), ("aim", "right"), ("", "left"),
)  # fmt: skip
_TURN_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    ("", "left"), ("last release", "right"), ("this release", "right"), ("this ÷ last", "right"), ("range", "right"),
    ("aim", "right"), ("", "left"),
)  # fmt: skip
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_STDERR = Console(stderr=True)


@app.command()
def bench(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A benchmark, or all; without it they are listed.", show_default=False)
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each side; figures are medians.")] = 3,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the full sizes, for trials.")] = 1.0,
    peer: Annotated[bool, typer.Option(help="Also measure the Debezium outbox router as a peer of our relay.")] = True,
    is_small: Annotated[
        bool,
        typer.Option("--small", help="Two rounds at a hundredth of the size, to check that the benchmarks run."),
    ] = False,
    is_in_turn: Annotated[
        bool, typer.Option("--last-release", help="Measure the last release and this one alternately, without other peers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    is_written: Annotated[
        bool,
        typer.Option("--write", help="Save the figures in benchmarks/README.md and docs/scale.md, except void or small ones."),
    ] = False,
) -> None:
    """
    Measure Tallyhook on its own servers, as ratios to other programs on the same machine at the same time.

    A benchmark is void, and the exit code is 1, if its output does not match its input.
    """
    if name is None:
        _list()
        return
    if name == MODEL:
        _show_capacity(write_page=is_written)
        return
    if name not in (ALL, *Name):
        raise typer.BadParameter(f"there is no benchmark {name!r}; there are: {', '.join(Name)}, {ALL}", param_hint="NAME")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    machine, scale = this_machine(), small.SMALL if is_small else Scale(rounds, share, peer)
    names = [*Name] if name == ALL else [Name(name)]
    is_written = is_written and not is_small
    reports = _reports(names, scale, is_in_turn=is_in_turn)
    results = [_show_and_save(report, as_json=as_json, is_written=is_written) for report in reports]
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(Report(machine, scale.rounds, scale.share, results))).decode())
    if any(result.void for result in results):
        raise typer.Exit(1)


def _reports(names: Sequence[Name], scale: Scale, *, is_in_turn: bool) -> Iterator[Report]:
    """Yield a report for each benchmark; all have the load before the first one, since each benchmark leaves some load behind."""
    machine = this_machine()
    for result in _measure_all(names, scale, is_in_turn=is_in_turn):
        yield Report(machine, scale.rounds, scale.share, [result])
        machine = replace(this_machine(), load=machine.load)


def _show_and_save(report: Report, *, as_json: bool, is_written: bool) -> Result:
    [result] = report.results
    if not as_json:
        show(Console(), result)
    if is_written and not result.void:
        save(report)
        write_readme(Name)
        if result.benchmark == Name.WHOLE:  # the page of the model is calculated from it
            capacity.write(capacity.tables(capacity.measured_costs()))
    return result


def show(console: Console, result: Result) -> None:
    """Print the result as a table."""
    table = Table(title=f"{result.benchmark}{' — VOID' if result.void else ''}", title_justify="left", title_style="bold")
    for heading, side in _TURN_COLUMNS if result.turns else _COLUMNS:
        table.add_column(heading, justify=side)
    for figure in result.figures:
        table.add_row(*cells_of(figure, void=bool(result.void)))
    for turn in result.turns:
        table.add_row(*turn_cells_of(turn))
    console.print(table)
    for line in (*(f"void: {reason}" for reason in result.void), *result.notes):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _list() -> None:
    """Print each name with the first line of its module's docstring; the module is not imported."""
    for name in Name:
        source = Path(__file__).with_name(f"{name}.py").read_text()
        print(f"{name:<10}{(ast.get_docstring(ast.parse(source)) or '').partition(chr(10))[0]}")
    print(f"{ALL:<10}All of them: several hours, and 78 GB of free disk.")
    print(f"{MODEL:<10}{(capacity.__doc__ or '').partition(chr(10))[0]}")


def _show_capacity(*, write_page: bool) -> None:
    text = capacity.tables(capacity.measured_costs())
    print(text)
    if write_page:
        capacity.write(text)


def _measure_all(names: Sequence[Name], scale: Scale, *, is_in_turn: bool) -> Iterator[Result]:
    """Yield the results one after the other; several small benchmarks run in parallel."""
    if scale is small.SMALL and len(names) > 1 and not is_in_turn:
        with Progress(_STDERR) as progress:
            yield from small.run_all(names, progress.report)
    else:
        yield from (_measure(name, scale, is_in_turn=is_in_turn) for name in names)


def _measure(name: Name, scale: Scale, *, is_in_turn: bool) -> Result:
    run = import_module(f"benchmarks.{name}").run
    with Progress(_STDERR) as progress:
        try:
            report = progress.report
            result: Result = turns.run(name, run, scale, report) if is_in_turn else run(scale, report)
        except FAILURES as error:
            result = Result(name, void=[reason_of(error)])
    return result


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    try:
        app(prog_name="./dev bench")
    except (StackError, WorkFailed, Void) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
