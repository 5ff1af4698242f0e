"""
The command line: `./dev bench [NAME]`, which is `python -m benchmarks [NAME]`; without a name it lists them.

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
from benchmarks.beside import WorkFailed
from benchmarks.failures import FAILURES, reason_of
from benchmarks.figures import Result, Scale, Void
from benchmarks.kept import Report, cells_of, keep, this_machine, turn_cells_of, write
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


EVERY: Final = "all"
RECKONED: Final = "capacity"
"""The name of the model, which reckons with what `whole` measured."""


_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    *(("", "left"), ("median", "right"), ("range", "right"), ("", "left"), ("aim", "right"), ("", "left")),
)
_TURN_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    *(("", "left"), ("last release", "right"), ("this release", "right"), ("this ÷ last", "right"), ("range", "right")),
    *(("aim", "right"), ("", "left")),
)
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
    is_in_turn: Annotated[
        bool, typer.Option("--last-release", help="Measure the last release and this one in turn, without other peers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    is_kept: Annotated[
        bool, typer.Option("--write", help="Keep the figures in benchmarks/README.md and docs/scale.md; no void or small ones.")
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
        _reckon(write_page=is_kept)
        return
    if name not in (EVERY, *Name):
        raise typer.BadParameter(f"there is no benchmark {name!r}; there are: {', '.join(Name)}, {EVERY}", param_hint="NAME")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    machine, scale = this_machine(), small.SMALL if is_small else Scale(rounds, share, peer)
    names = [*Name] if name == EVERY else [Name(name)]
    is_kept = is_kept and not is_small
    reports = _reports(names, scale, is_in_turn=is_in_turn)
    results = [_shown(report, as_json=as_json, is_kept=is_kept) for report in reports]
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(Report(machine, scale.rounds, scale.share, results))).decode())
    if any(result.void for result in results):
        raise typer.Exit(1)


def _reports(names: Sequence[Name], scale: Scale, *, is_in_turn: bool) -> Iterator[Report]:
    """Yield a report for each benchmark; the load is that before the first, since each leaves some behind."""
    machine = this_machine()
    for result in _measured(names, scale, is_in_turn=is_in_turn):
        yield Report(machine, scale.rounds, scale.share, [result])
        machine = replace(this_machine(), load=machine.load)


def _shown(report: Report, *, as_json: bool, is_kept: bool) -> Result:
    [result] = report.results
    if not as_json:
        show(Console(), result)
    if is_kept and not result.void:
        keep(report)
        write(Name)
        if result.benchmark == Name.WHOLE:  # the page of the model is reckoned from it
            capacity.write(capacity.tables(capacity.measured()))
    return result


def show(console: Console, result: Result) -> None:
    """The result as a table."""
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
    """Each name with what it measures: the first line of its module, which is not imported for that."""
    for name in Name:
        source = Path(__file__).with_name(f"{name}.py").read_text()
        print(f"{name:<10}{(ast.get_docstring(ast.parse(source)) or '').partition(chr(10))[0]}")
    print(f"{EVERY:<10}All of them: several hours, and 78 GB of free disk.")
    print(f"{RECKONED:<10}{(capacity.__doc__ or '').partition(chr(10))[0]}")


def _reckon(*, write_page: bool) -> None:
    text = capacity.tables(capacity.measured())
    print(text)
    if write_page:
        capacity.write(text)


def _measured(names: Sequence[Name], scale: Scale, *, is_in_turn: bool) -> Iterator[Result]:
    """Yield the results one after the other; many small ones are made side by side."""
    if scale is small.SMALL and len(names) > 1 and not is_in_turn:
        with Progress(_TOLD) as progress:
            yield from small.run_all(names, progress.report)
    else:
        yield from (_measure(name, scale, is_in_turn=is_in_turn) for name in names)


def _measure(name: Name, scale: Scale, *, is_in_turn: bool) -> Result:
    run = import_module(f"benchmarks.{name}").run
    with Progress(_TOLD) as progress:
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
