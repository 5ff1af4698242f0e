"""The command line: `./dev bench [NAME]`, which is `python -m benchmarks [NAME]`; without a name it lists them."""

from __future__ import annotations

import ast
import signal
import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from benchmarks.beside import WorkFailed
from benchmarks.figures import Result, Void
from benchmarks.report import Report, show, this_machine, write
from benchmarks.scale import Scale
from ops.dev.progress import Progress
from ops.stack.errors import StackError


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


EVERY: Final = "all"


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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
    write_readme: Annotated[bool, typer.Option("--write", help="Put the figures into benchmarks/README.md.")] = False,
) -> None:
    """
    Measure Tallyhook on servers of its own, as ratios to what the same machine reaches in the same minutes.

    A benchmark voids itself, and the exit code is 1, where what came out is not what went in.
    """
    if name is None:
        _list()
        return
    if name not in (EVERY, *Name):
        raise typer.BadParameter(f"there is no benchmark {name!r}; there are: {', '.join(Name)}, {EVERY}", param_hint="NAME")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)
    machine = this_machine()
    results = []
    for each in Name if name == EVERY else [Name(name)]:
        results.append(_measure(each, Scale(rounds, share, peer)))
        if not as_json:
            show(Console(), results[-1])
    report = Report(machine, rounds, share, results)
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
    print(f"{EVERY:<10}All of them, about half an hour.")


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
