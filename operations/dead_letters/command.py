"""`tallyhook dead-letters`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args
from uuid import UUID

import msgspec
import typer

from operations.dead_letters.query import DeadLettersQuery, Status
from operations.options import options_from
from operations.output import CommandError, Json, operator, show, with_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from psycopg import AsyncConnection

    from operations.dead_letters.store import DeadLetter

    Settle = Callable[[AsyncConnection, UUID], Awaitable[object]]

_HELP: Final = "Records that a worker could not handle, and leads that a partner did not accept."
app = typer.Typer(no_args_is_help=True, help=_HELP)

_MANY: Final = 100_000
_SHOWN: Final = 50
_NARROWING: Final = ("consumer", "reason", "topic", "fault")

Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Ids as `dead-letters list` shows them.")]
Every = Annotated[bool, typer.Option("--all", help="Instead of ids: all open ones that match the other options, oldest first.")]
AtMost = Annotated[int, typer.Option("--limit", min=1, max=_MANY, help="With --all: the maximum number.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
@options_from(DeadLettersQuery, *_NARROWING, "from", "to")
def list_items(
    asked: DeadLettersQuery,
    *,
    status: Annotated[str, typer.Option(metavar="open|retried|discarded|all", help="Only those of this status.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=_MANY, help="The maximum number; the newest are listed.")] = _SHOWN,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first: who has to remove the cause, and the page with the remedy."""
    from operations.dead_letters import listing

    query = _of_status(asked, status)
    found = with_database(lambda connection: listing.find(connection, query, limit))
    show({"items": [_builtins(item) for item in found]}, _table(found), as_json=as_json)


@app.command("show")
def show_item(
    item_id: Annotated[UUID, typer.Argument(metavar="ID", help="Its id, as `dead-letters list` shows it.")], as_json: Json = False
) -> None:
    """Show one dead letter with its record."""
    from operations.dead_letters import listing

    found = with_database(lambda connection: listing.read(connection, item_id))
    if found is None:
        raise CommandError(f"not_found: no dead letter has the id {item_id}")
    item, contents = found
    fields = _builtins(item) | listing.record_of(contents)
    lines = [f"{name:16} {value}" for name, value in fields.items() if name not in {"key", "value", "headers"}]
    lines += [f"{'header':16} {name}: {value}" for name, value in listing.readable_headers(contents)]
    show(fields, "\n".join(lines), as_json=as_json)


@app.command("retry")
@options_from(DeadLettersQuery, *_NARROWING)
def retry(
    asked: DeadLettersQuery,
    ids: Ids = None,
    *,
    every: Every = False,
    limit: AtMost = _MANY,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, each once, after the cause is removed; one that fails again becomes a new dead letter."""
    from operations.dead_letters import listing

    async def settle(connection: AsyncConnection, item_id: UUID) -> None:
        await listing.retry(connection, item_id, operator())

    _settle_all("retry", _selected("retry", ids, asked if every else None, limit, yes=yes), settle, as_json=as_json)


@app.command("discard")
@options_from(DeadLettersQuery, *_NARROWING)
def discard(
    asked: DeadLettersQuery,
    ids: Ids = None,
    *,
    because: Annotated[str, typer.Option(help="The reason, which is kept with them.")],
    every: Every = False,
    limit: AtMost = _MANY,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Discard dead letters for good: they are not handled, and cannot be retried any more."""
    from operations.dead_letters import listing

    async def settle(connection: AsyncConnection, item_id: UUID) -> None:
        await listing.discard(connection, item_id, because, operator())

    if not because.strip():
        raise CommandError("--because needs a text: the reason is kept for later readers")
    _settle_all("discard", _selected("discard", ids, asked if every else None, limit, yes=yes), settle, as_json=as_json)


def _of_status(asked: DeadLettersQuery, word: str) -> DeadLettersQuery:
    """Return the query for the status of this name; `all` means any status. Raises CommandError."""
    if word == "all":
        return asked
    status = next((each for each in get_args(Status) if each == word), None)
    if status is None:
        raise CommandError(f"--status is one of {', '.join(get_args(Status))}, all")
    return msgspec.structs.replace(asked, status=status)


def _selected(verb: str, ids: list[UUID] | None, asked: DeadLettersQuery | None, limit: int, *, yes: bool) -> list[UUID]:
    """Return the given ids, or those that match and that the operator has confirmed. Raises CommandError."""
    from operations.dead_letters import listing

    if bool(ids) == (asked is not None):
        raise CommandError("name ids, or give --all and options that narrow it")
    if asked is None:
        return ids or []
    query = msgspec.structs.replace(asked, status="open")
    found = with_database(lambda connection: listing.find(connection, query, limit, oldest_first=True))
    if found and not yes:
        for (consumer, reason), number in Counter((item.consumer, item.reason) for item in found).items():
            typer.echo(f"{number:>8}  {consumer}  {reason}", err=True)
        if not sys.stdin.isatty():
            raise CommandError(f"--yes is needed to {verb} them without a terminal")
        typer.confirm(f"{verb} these {len(found)}?", abort=True, err=True)
    return [item.id for item in found]


def _settle_all(verb: str, ids: Sequence[UUID], settle: Settle, *, as_json: bool) -> None:
    failed = with_database(lambda connection: _settle_each(connection, verb, ids, settle))
    done = len(ids) - len(failed)
    past = {"retry": "sent again", "discard": "discarded"}[verb]
    show({"done": done, "failed": failed}, f"{done} {past}", as_json=as_json)
    if failed:
        raise CommandError("; ".join(f"{item_id}: {why}" for item_id, why in failed.items()))


async def _settle_each(connection: AsyncConnection, verb: str, ids: Sequence[UUID], settle: Settle) -> dict[str, str]:
    """Settle each in its own transaction, with its row in the audit log; return the errors by id."""
    from rich.console import Console
    from rich.progress import track

    from gateway.audit_log import note_command
    from operations.errors import OperationError

    failed: dict[str, str] = {}
    console = Console(stderr=True)
    for item_id in track(ids, verb, console=console, disable=not console.is_terminal or len(ids) == 1, transient=True):
        try:
            async with connection.transaction():
                await settle(connection, item_id)
                await note_command(connection, f"tallyhook dead-letters {verb} {item_id}", operator())
        except OperationError as error:
            failed[str(item_id)] = f"{error.reason}: {error}"
    return failed


def _builtins(item: DeadLetter) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(item)
    return fields


def _table(found: Sequence[DeadLetter]) -> str:
    if not found:
        return "no dead letter matches"
    lines = []
    for item in found:
        place = item.topic if item.offset is None else f"{item.topic}[{item.partition}]@{item.offset}"
        lines.append(
            f"{item.id}  {item.set_aside_at:%Y-%m-%d %H:%M:%S}  {item.status}  {item.fault}  {item.consumer}  {item.reason}"
        )
        lines.append(f"    {place}  {item.detail[:160]}")
    pages = sorted({(item.reason, item.runbook) for item in found})
    return "\n".join([*lines, *(f"{reason}: see {page}" for reason, page in pages)])
