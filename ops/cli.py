"""`tallyhook`: the operators' command line. Errors are one line on stderr and a non-zero exit."""

import errno
import inspect
import os
import select
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from runtime.redaction import redacted
from runtime.startup import import_structlog
from runtime.uncaught import redact_uncaught
from schemas.text import is_storable

_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class Place(NamedTuple):
    """The module of a command or of a group of commands, and its line in `--help`, for which nothing is imported."""

    module: str
    attribute: str
    help: str


PLACES: Final = {
    "gateway": Place(
        "ops.commands.run", "gateway", "Run the gateway until SIGTERM: the public and the internal listener in one process."
    ),
    "relay": Place("ops.commands.run", "relay", "Run one relay until SIGTERM; start as many as you like, they share the work."),
    "worker": Place(
        "ops.commands.run",
        "worker",
        "Run a worker of one role or of several until SIGTERM; workers of a role share its partitions.",
    ),
    "migrate": Place(
        "ops.commands.setup", "migrate", "Migrate the database to the newest revision and create its daily partitions."
    ),
    "retention": Place(
        "ops.commands.setup",
        "retention",
        "Create the partitions of the coming days, detach expired ones, and delete expired records. Relays do this every hour.",
    ),
    "ledger": Place(
        "operations.ledger.command",
        "ledger",
        "Account for all deliveries: received = rejected + duplicates + ignored + processed + in flight + dead-lettered.",
    ),
    "topology": Place(
        "operations.topology.command",
        "topology",
        "Show the topics with their readers and writers, and the progress and lag of each worker.",
    ),
    "doctor": Place(
        "ops.commands.doctor",
        "doctor",
        "Examine settings, servers, schema, topics, clocks and waiting work; each fault has a remedy. Exit code 1 on failure.",
    ),
    "check": Place(
        "ops.commands.doctor",
        "check",
        "Report every error in the settings without connecting to anything; the exit code is 1 if a process would not start.",
    ),
    "grants": Place(
        "ops.commands.grants",
        "grants",
        "Print the SQL that makes two roles in Postgres, one for migrations and one for the processes; it changes nothing.",
    ),
    "erase": Place(
        "operations.erasure.command",
        "erase",
        "Erase all stored data about one subject: contents are erased for good; ids, digests and outcomes stay.",
    ),
    "find": Place(
        "operations.find.command",
        "find",
        "Find everything that an id names: a delivery, an event, a payment, a lead, a message, a dead letter, a user, and so on.",
    ),
    "rebuild": Place(
        "operations.rebuild.command",
        "rebuild",
        "Restore lost rows from the outbox log, and from Kafka if the log no longer has their events. No message is sent.",
    ),
    "console": Place("console.command", "app", "The operators' pages on the internal listener, at /console."),
    "topics": Place("ops.commands.setup", "app", "Create the Kafka topics of Tallyhook."),
    "outbox": Place("ops.commands.outbox", "app", "The outbox: events that wait for Kafka, and parked ones."),
    "replay": Place("ops.commands.replay", "app", "Send stored deliveries again, or let a worker read a topic again."),
    "dead-letters": Place(
        "operations.dead_letters.command",
        "app",
        "Records that a worker could not handle, and leads that a partner did not accept.",
    ),
    "deliveries": Place(
        "operations.deliveries.command", "app", "Webhooks that arrived: list them, and explain why one was refused."
    ),
    "partners": Place("ops.commands.partners", "app", "Partners and their CRMs: terms, secrets, waiting leads and probes."),
    "endpoints": Place(
        "ops.commands.endpoints", "app", "Endpoints of payment providers, each with its own secrets, mode and label."
    ),
    "secrets": Place("operations.secrets.command", "app", "Our secrets: make new ones, and see which old ones may go."),
    "backfill": Place("operations.backfill.command", "app", "Fetch events that a provider sent and that never arrived."),
    "reconcile": Place(
        "operations.reconcile.command", "app", "Compare our rows with the objects of a provider, and correct our rows."
    ),
    "payments": Place("operations.state.command", "payments", "Payments: their states, and whether they were expected."),
    "subscriptions": Place("operations.state.command", "subscriptions", "Subscriptions and their states."),
    "invoices": Place("operations.state.command", "invoices", "Invoices and their states."),
    "leads": Place("operations.state.command", "leads", "Leads of partners, and how far their delivery is."),
    "notifications": Place("operations.state.command", "notifications", "Messages to people, and their states."),
}


def loaded(*names: str) -> Any:
    """Import these commands and everything below them; return them as one group of click."""
    import_structlog()
    group = _typer()
    group.callback()(lambda: None)  # otherwise a group of one command would lose its name
    for name in names:
        place = PLACES[name]
        found = getattr(import_module(place.module), place.attribute)
        if isinstance(found, typer.Typer):
            group.add_typer(found, name=name)
        else:
            group.command(name)(found)
    found = typer.main.get_command(group)
    _join_lines(found)
    return found


def _join_lines(command: Any) -> None:
    """Join the lines of each paragraph of the help: typer keeps the breaks of the source, which no terminal's width has."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for below in getattr(command, "commands", {}).values():
        _join_lines(below)


class _Late(TyperGroup):
    """A group that imports a command when it is called, so that a process or `--help` does not import the others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, loaded(name).commands[name] if name else None, rest


def _typer(cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    return typer.Typer(cls=cls, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


def _print_release(asked: bool) -> None:  # noqa: FBT001  # typer passes the value by its place
    if asked:
        from runtime.build import release  # noqa: PLC0415  # it imports the metrics, and no command needs it

        print(release())
        raise typer.Exit


app = _typer(_Late)


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_release, is_eager=True, help="Show the release and exit.")
    ] = False,
) -> None:
    pass


for each, known in PLACES.items():
    app.command(each, help=known.help)(lambda: None)


def main() -> None:
    """Entry of the console script."""
    redact_uncaught()
    if not is_storable(sys.argv):
        _fail("an argument is not UTF-8")
    try:
        _check_shell()
        _run()
    except Exception as error:
        if isinstance(error, OSError) and (error.errno in _UNWRITABLE or (error.errno == errno.EPIPE and _reader_has_left())):
            _end_unwritten(error)
        from ops.commands import failures  # noqa: PLC0415  # it imports the libraries whose errors it knows, and most commands succeed

        if (text := failures.text_of(error)) is None:
            raise
        _fail(text)


def _run() -> None:
    """Run the command. Raises OSError if its output cannot be written: the interpreter would notice that at its end."""
    try:
        app()
    except SystemExit:  # every command ends with one
        if sys.stdout:
            sys.stdout.flush()
        raise


def _check_shell() -> None:
    """Refuse settings of a local stack that is gone, as they are not the operator's. Raises StackError `shell_stale`."""
    if "TALLYHOOK_DEV_ENV" in os.environ and "--help" not in sys.argv:
        from ops.dev import mark  # noqa: PLC0415  # only for the shell of a developer

        mark.check(os.environ, Path.cwd())


def _reader_has_left() -> bool:
    """Report whether standard output is a pipe without a reader: a connection to a server may have broken instead."""
    output = select.poll()
    output.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))


def _end_unwritten(error: OSError) -> None:
    """End with an error, without a word if the reader of a pipe has left, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the interpreter tries to write the rest
    if error.errno == errno.EPIPE:
        raise SystemExit(1)
    _fail(f"standard output: {error.strerror}")


def _fail(text: str) -> None:
    print(f"tallyhook: {redacted(text)}", file=sys.stderr)
    raise SystemExit(1)
