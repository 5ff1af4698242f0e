"""The parts that all commands share: printing, failing, and connecting to the database."""

import asyncio
import getpass
import json
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from math import isfinite
from typing import Annotated, Any, Final, TypeVar

import psycopg
import typer

from runtime.moments import moment_of
from runtime.schema import check_schema
from runtime.sessions import connect, connect_async
from runtime.settings import environment

Result = TypeVar("Result")

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
WHEN: Final = "A time such as 2026-11-24T10:00, in UTC unless it names a zone, or how long ago, such as 2h."


_CONTROLS: Final = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


class CommandError(Exception):
    """The command failed; the text states the cause in one line."""


def show(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """
    Print the data as JSON for programs, or the text for people.

    Names of files and variables in it need not be UTF-8.
    """
    print(json.dumps(data, default=str) if as_json else printable(text).encode(errors="backslashreplace").decode())


def printable(text: str) -> str:
    """Escape control characters: a provider, a partner or a CRM may have sent them, and a terminal would obey them."""
    return _CONTROLS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def parse_moment(text: str, now: datetime) -> datetime:
    """Parse a time, or a duration, which is counted back from now. Raises CommandError."""
    try:
        return moment_of(text, now)
    except ValueError as error:
        raise CommandError(str(error)) from error


def parse_period(since: tuple[str, str], until: tuple[str, str], now: datetime) -> tuple[datetime, datetime]:
    """Parse the period between two options, each given as its name and its text. Raises CommandError."""
    begin, end = parse_moment(since[1], now), parse_moment(until[1], now)
    if begin >= end:
        raise CommandError(f"{since[0]} is not before {until[0]}")
    return begin, end


def finite(number: float) -> float:
    """
    Return the number if it is finite; every option that takes a float has this as its callback.

    Some releases of typer accept `nan` within any bounds, and a pause of nan seconds would not wait at all.
    Raises BadParameter.
    """
    if not isfinite(number):
        raise typer.BadParameter("a finite number is expected")
    return number


@contextmanager
def bar(description: str, total: float | None = None, *, counted: bool = True) -> Iterator[Callable[..., None]]:
    """
    Show a progress bar on stderr if that is a terminal.

    It yields a function that takes `advance`, `completed`, `total` and `description`. Without `counted` it shows a percentage.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    figures = progress.MofNCompleteColumn() if counted else progress.TaskProgressColumn()
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), figures, progress.TimeElapsedColumn())
    with progress.Progress(
        progress.SpinnerColumn(), *columns, console=console, transient=True, disable=not console.is_terminal
    ) as made:
        yield partial(made.update, made.add_task(description, total=total))


def postponing(shown: Callable[..., None]) -> Callable[[str, str], None]:
    """
    Return the function that gets the reason and the error of each attempt that is to be repeated.

    It shows the reason in the progress bar and prints each new error: the command waits, and an operator has to know for what.
    """
    printed = set[str]()

    def postponed(reason: str, error: str) -> None:
        shown(description=f"waiting: {reason}")
        line = f"waiting: {reason}: {printable(error.strip().partition(chr(10))[0])}"
        if line not in printed:
            printed.add(line)
            print(f"{line} (repeated until it succeeds; Ctrl-C ends the command)", file=sys.stderr)

    return postponed


def operator() -> str:
    """The user and host that run the command, for the audit log: a command has no token."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user id without an account
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def database() -> psycopg.Connection:
    """Connect in autocommit mode, and check the schema. Raises SettingsError, psycopg.Error, SchemaUnfit."""
    from outbox.settings import DatabaseSettings

    settings = DatabaseSettings.load(environment())
    connection = connect(settings.database_url, name="command", lease=settings.lock_lease)
    try:
        check_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def with_database(work: Callable[[psycopg.AsyncConnection], Awaitable[Result]]) -> Result:
    """Run the work on a connection in autocommit mode and return its result. Raises the errors of `database` and of the work."""
    from outbox.settings import DatabaseSettings

    database().close()  # this checks the schema

    async def run() -> Result:
        settings = DatabaseSettings.load(environment())
        async with await connect_async(settings.database_url, name="command", lease=settings.lock_lease) as connection:
            return await work(connection)

    return asyncio.run(run())
