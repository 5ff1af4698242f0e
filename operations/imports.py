"""Imports the rows of a JSON or CSV file in one transaction: all of them, or none if any has a fault."""

from __future__ import annotations

from pathlib import Path  # typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from operations.errors import OperationError
from operations.output import CommandError, with_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from psycopg import AsyncConnection

    Row = dict[str, Any]

Changed = TypeVar("Changed")
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A JSON list of objects, or CSV with a header line, in UTF-8; - reads JSON from standard input.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, and change nothing.")]


def import_rows(
    what: str,
    rows: Sequence[Row],
    read: Callable[[Row], tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]],
    note: Callable[[AsyncConnection, str], Awaitable[None]],
    *,
    dry_run: bool,
) -> list[Changed]:
    """
    Import all of these rows, or none; `read` returns a row's key and the function that writes it, or raises CommandError.

    With `dry_run`, nothing is kept. Raises CommandError with every fault, each with the position of its row.
    """
    writers, faults = _read_all(what, rows, read)

    async def work(connection: AsyncConnection) -> list[Changed]:
        changed = []
        async with connection.transaction(force_rollback=dry_run or bool(faults)):
            for place, write in writers:
                try:
                    async with connection.transaction():
                        changed.append(await write(connection))
                except OperationError as error:
                    faults.append(f"{place}: {error.reason}: {error}")
            if faults and not dry_run:
                raise CommandError(_refusal(what, faults))
            await note(connection, f"import of {len(changed)}")
        return changed

    changed = with_database(work)
    if faults:
        raise CommandError(_refusal(what, faults))
    return changed


def text_of(row: Row, name: str) -> str:
    """Take a text that every row has out of the row. Raises CommandError."""
    if not isinstance(text := row.pop(name, None), str):
        raise CommandError(f"field_invalid: `{name}` is {'absent' if text is None else 'not a text'}")
    return text


def kept_terms(row: Row, terms: Mapping[str, Any], *, csv: bool) -> Row:
    """The terms with those of the row: a CSV row keeps terms without a column, and drops those of its empty fields."""
    given = {name: value for name, value in row.items() if value is not None}
    return {name: value for name, value in terms.items() if name not in row} | given if csv else row


def _read_all(
    what: str, rows: Sequence[Row], read: Callable[[Row], tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]]
) -> tuple[list[tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]], list[str]]:
    """Return the functions that write the rows, each with its row's position in the file, and the faults of the other rows."""
    found: dict[str, tuple[str, Callable[[AsyncConnection], Awaitable[Changed]]]] = {}
    faults = []
    for number, row in enumerate(rows, 1):
        place = f"{what} {number} ({row.get('id', 'without an id')})"
        try:
            key, write = read(row)
        except CommandError as error:
            faults.append(f"{place}: {error}")
            continue
        if key in found:
            faults.append(f"{place}: has the key {key}, which {found[key][0]} has too")
        found.setdefault(key, (place, write))
    return list(found.values()), faults


def _refusal(what: str, faults: Sequence[str]) -> str:
    lines = "\n".join(f"  {each}" for each in faults)
    return f"nothing was changed, since {len(faults)} of the {what}s cannot be imported:\n{lines}"
