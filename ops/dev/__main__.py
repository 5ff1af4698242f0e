"""The command line of `./dev`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from ops.dev import background, mark
from ops.dev.checkout import build_docs, run_checks, run_suite, serve, write_bill, write_locks
from ops.dev.console_link import console_link
from ops.dev.lines import wrapped
from ops.dev.progress import Progress
from ops.dev.report import report_of
from ops.dev.shell import exports
from ops.dev.status import examine
from ops.dev.up import Plan, check_settings, our_processes
from ops.dev.up import up as bring_up
from ops.stack.errors import StackError
from ops.stack.places import default_data_dir
from ops.stack.secure import SecureStack
from ops.stack.stack import Stack
from ops.stack.state import StateFile
from runtime.redaction import redacted
from runtime.settings import SettingsError
from runtime.uncaught import redact_uncaught

CHECKOUT = Path(__file__).resolve().parents[2]
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="The folder for data, logs and state of the stack. Default: one that belongs to this checkout.", show_default=False
    ),
]

app = typer.Typer(
    help="Run, test and check Tallyhook on this machine: real servers, no Docker, no root.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


def _print(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_wrapped(line: str) -> None:
    _print(wrapped(line))


def _ignore(_line: str) -> None: ...


def _data_dir(given: Path | None) -> Path:
    return given.absolute() if given else default_data_dir(CHECKOUT)


@app.command()
def up(
    data_dir: DataDir = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return when everything is ready; `./dev down` stops it.")] = False,
    split: Annotated[bool, typer.Option("--split", help="Run a worker process for each role, in place of one for all.")] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Start the servers with TLS and passwords, as companies have them.")
    ] = False,
) -> None:
    """Start the servers that are missing, then gateway, relay and workers; Ctrl-C stops everything in order."""
    place = _data_dir(data_dir)
    check_settings(
        CHECKOUT, _ignore if detach else _print_wrapped
    )  # detached, the process in the background prints doubtful settings
    if detach:
        options = [*(["--split"] if split else []), *(["--secure"] if secure else [])]
        command = [sys.executable, "-m", "ops.dev", "up", "--data-dir", str(place), *options]
        background.up_detached(command, CHECKOUT, place, _print)
        _print(f"\n{report_of(examine(place), place)}")
        _print_link(place)
        return
    with Progress(console) as progress:

        def show() -> None:
            progress.settle()
            _print(f"\n{report_of(examine(place), place, foreground=True)}")
            _print_link(place)

        stack = SecureStack if secure else Stack
        bring_up(Plan(CHECKOUT, place, stack, processes=partial(our_processes, split=split)), progress, show)


def _print_link(place: Path) -> None:
    if url := console_link(CHECKOUT, place):
        _print(f"\nThe console; this link signs in once, within 15 minutes:\n  {url}")


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop the running stack in order and keep its data."""
    _print("stopped" if background.down(_data_dir(data_dir), _print_wrapped) else "nothing runs")


@app.command()
def status(
    data_dir: DataDir = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs; it includes passwords.")] = False,
) -> None:
    """Show every server and process with its address; the exit code is 1 when nothing runs."""
    place = _data_dir(data_dir)
    found = examine(place)
    if json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    elif found.phase == "down":
        _print(_nothing_runs(place))
    else:
        _print(report_of(found, place))
    raise typer.Exit(1 if found.phase == "down" else 0)


def _nothing_runs(place: Path) -> str:
    state = StateFile(place).read()
    why = f"the last start failed: {redacted(state.failure)}\n" if state.phase == "failed" and state.failure else ""
    return f"{why}Nothing runs here; ./dev up --detach starts it. Its data:\n  {place}"


@app.command()
def env(context: typer.Context, data_dir: DataDir = None) -> None:
    """Print the variables for a shell that works on the running stack: eval "$(./dev env)". They include secrets."""
    print(exports(CHECKOUT, _data_dir(data_dir), context.obj))


@app.command()
def demo(data_dir: DataDir = None) -> None:
    """Send a signed Stripe event, a partner's lead and two commands through the running stack, and print the way of each."""
    from ops.demo import demo as run_demo  # noqa: PLC0415  it brings the provider's SDK, which no other command needs

    run_demo(CHECKOUT, _data_dir(data_dir), _print)


@app.command("test", context_settings=_PASS_ON)
def run_tests(
    context: typer.Context,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Only tests/unit and tests/integration, without whole systems.")] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Measure these two, and print the lines that they do not reach.")
    ] = False,
) -> None:
    """Run the test suite on its own real servers, or pytest with the arguments that are given."""
    if context.args:
        _become("-m", "pytest", *context.args)
    raise typer.Exit(run_suite(CHECKOUT, fast=fast or coverage, coverage=coverage))


@app.command()
def check() -> None:
    """Run the static checks: ruff, mypy --strict, import contracts, schema compatibility, stale contracts, documentation."""
    if not run_checks(CHECKOUT, _print):
        raise typer.Exit(1)


@app.command(context_settings=_PASS_ON)
def bench(context: typer.Context) -> None:
    """Run the benchmark of that name, or all of them; without a name, list them."""
    _become("-m", "benchmarks", *context.args)


@app.command()
def docs(
    *,
    serving: Annotated[bool, typer.Option("--serve", help="Serve the site on this machine until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="The port to serve on; 0 takes a free one.")] = 8000,
) -> None:
    """Build the documentation site in dist/docs; a broken link fails the build."""
    if (site := build_docs(CHECKOUT)) is None:
        raise typer.Exit(1)
    _print(f"{site}/index.html")
    if serving:
        serve(site, port, _print)


@app.command()
def lock(
    *, upgrade: Annotated[bool, typer.Option("--upgrade", help="Take the newest version of every package.")] = False
) -> None:
    """Write requirements/*.lock again after a change of the dependencies in pyproject.toml."""
    write_locks(CHECKOUT, _print, upgrade=upgrade)


@app.command()
def sbom() -> None:
    """Write dist/sbom.cdx.json, the bill of materials of the image: every locked package, in CycloneDX."""
    _print(str(write_bill(CHECKOUT)))


def _become(*arguments: str) -> None:
    os.chdir(CHECKOUT)
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  no shell


def main() -> None:
    redact_uncaught()
    earlier, fault = mark.leave(os.environ, CHECKOUT)
    if fault and sys.argv[1:2] != ["env"]:
        print(wrapped(f"dev: {mark.note(fault)}"), file=sys.stderr)
    try:
        app(prog_name="./dev", obj=earlier)
    except (StackError, SettingsError) as error:
        first, separator, rest = redacted(f"dev: {error}").partition("\n")  # lines of a log may follow, which are not wrapped
        sys.exit(f"{wrapped(first)}{separator}{wrapped(rest) if isinstance(error, SettingsError) else rest}")


if __name__ == "__main__":
    main()
