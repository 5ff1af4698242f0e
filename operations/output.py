"""The parts that all commands share: printing, failing, and connecting to the database."""

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import psycopg
import typer

from runtime.moments import moment_of
from runtime.schema import check_schema
from runtime.sessions import connect, connect_async
from runtime.settings import environment

Result = TypeVar("Result")

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


class CommandError(Exception):
    """A command could not do what it was asked; the text says why, in one line."""


def show(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print the data for programs, or the text for people."""
    print(json.dumps(data, default=str) if as_json else text)


def parse_moment(text: str, now: datetime) -> datetime:
    """The time that a text names, or the one that lies so long before now. Raises CommandError."""
    try:
        return moment_of(text, now)
    except ValueError as error:
        raise CommandError(str(error)) from error


def operator() -> str:
    """The user who runs the command, for the audit log, since a shell shows no token."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that no account has
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def database() -> psycopg.Connection:
    """A connection in autocommit, to a schema that this release can work on. Raises SettingsError, psycopg.Error, SchemaUnfit."""
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

    database().close()  # so that the schema is looked at

    async def run() -> Result:
        settings = DatabaseSettings.load(environment())
        async with await connect_async(settings.database_url, name="command", lease=settings.lock_lease) as connection:
            return await work(connection)

    return asyncio.run(run())
