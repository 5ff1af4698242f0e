"""`tallyhook dead-letters`."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple
from uuid import UUID

import typer

from operations.ledger.command import parse_moment
from operations.output import CommandError, Json, operator, show, with_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from psycopg import AsyncConnection

    from operations.dead_letters.listing import SetAsideSetAside
    from operations.dead_letters.store import Search

    Settle = Callable[[AsyncConnection, UUID], Awaitable[object]]

_HELP: Final = "What was set aside: records that a worker could not handle, leads that a partner did not take."
app = typer.Typer(no_args_is_help=True, help=_HELP)

_STATUSES: Final = ("open", "retried", "discarded", "all")
_FAULTS: Final = ("ours", "theirs", None)
_LAST_ID: Final = UUID(int=(1 << 128) - 1)
_MANY: Final = 100_000

Consumer = Annotated[str | None, typer.Option(help="Only those of this worker.")]
Reason = Annotated[str | None, typer.Option(help="Only those set aside for this reason.")]
Topic = Annotated[str | None, typer.Option(help="Only those of this topic.")]
Fault = Annotated[str | None, typer.Option(help="`ours` (code, schema, setting) or `theirs` (provider, partner).")]
Ids = Annotated[list[UUID] | None, typer.Argument(help="Ids as `dead-letters list` shows them.")]
Every = Annotated[bool, typer.Option("--all", help="Instead of ids: all open ones that the other options leave, oldest first.")]
AtMost = Annotated[int, typer.Option("--limit", min=1, max=_MANY, help="With --all: so many at most.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_items(
    *,
    status: Annotated[str, typer.Option(help="open, retried, discarded or all.")] = "open",
    consumer: Consumer = None,
    reason: Reason = None,
    topic: Topic = None,
    fault: Fault = None,
    begin: Annotated[str, typer.Option("--from", help="Set aside since then: a time, or how long ago, such as 2h.")] = "3650d",
    end: Annotated[str, typer.Option("--to", help="Set aside before then, likewise.")] = "0s",
    limit: Annotated[int, typer.Option(min=1, max=_MANY, help="So many at most, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """What was set aside, newest first: whose fault it is, and the page that says what to do."""
    from operations.dead_letters import listing

    if status not in _STATUSES:
        raise CommandError(f"--status is one of {', '.join(_STATUSES)}")
    filters = _Filters(None if status == "all" else status, consumer, reason, topic, fault)
    search = filters.search(limit, begin=begin, end=end)
    found = with_database(lambda connection: listing.find(connection, search))
    show({"items": [_builtins(item) for item in found]}, _table(found), as_json=as_json)


@app.command("show")
def show_item(item_id: Annotated[UUID, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """One of them, with its record."""
    from operations.dead_letters import listing

    found = with_database(lambda connection: listing.read(connection, item_id))
    if found is None:
        raise CommandError(f"not_found: nothing that was set aside has the id {item_id}")
    item, contents = found
    fields = _builtins(item) | listing.record_of(contents)
    lines = [f"{name:16} {value}" for name, value in fields.items() if name not in {"key", "value", "headers"}]
    lines += [f"{'header':16} {name}: {value}" for name, value in listing.readable_headers(contents)]
    show(fields, "\n".join(lines), as_json=as_json)


@app.command("retry")
def retry(
    ids: Ids = None,
    *,
    every: Every = False,
    consumer: Consumer = None,
    reason: Reason = None,
    topic: Topic = None,
    fault: Fault = None,
    limit: AtMost = _MANY,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send them out again, each once, after what was wrong is mended; what fails again is set aside anew."""
    from operations.dead_letters import listing

    async def settle(connection: AsyncConnection, item_id: UUID) -> None:
        await listing.retry(connection, item_id, operator())

    search = _Filters("open", consumer, reason, topic, fault).search(limit, oldest_first=True) if every else None
    _settle_all("retry", ids or [], search, settle, yes=yes, as_json=as_json)


@app.command("discard")
def discard(
    ids: Ids = None,
    *,
    because: Annotated[str, typer.Option(help="Why; it is kept with them.")],
    every: Every = False,
    consumer: Consumer = None,
    reason: Reason = None,
    topic: Topic = None,
    fault: Fault = None,
    limit: AtMost = _MANY,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give them up, for good: they are not handled, and cannot be retried any more."""
    from operations.dead_letters import listing

    async def settle(connection: AsyncConnection, item_id: UUID) -> None:
        await listing.discard(connection, item_id, because, operator())

    if not because.strip():
        raise CommandError("--because needs a text: who looks at it later wants to know")
    search = _Filters("open", consumer, reason, topic, fault).search(limit, oldest_first=True) if every else None
    _settle_all("discard", ids or [], search, settle, yes=yes, as_json=as_json)


class _Filters(NamedTuple):
    status: str | None
    consumer: str | None
    reason: str | None
    topic: str | None
    fault: str | None

    def search(self, limit: int, *, begin: str = "3650d", end: str = "0s", oldest_first: bool = False) -> Search:
        """Raises CommandError."""
        from operations.dead_letters.store import Search

        if self.fault not in _FAULTS:
            raise CommandError("--fault is `ours` or `theirs`")
        now = datetime.now(UTC)
        before = (parse_moment(end, now), _LAST_ID)
        return Search(parse_moment(begin, now), before, limit, *self, oldest_first=oldest_first)


def _settle_all(verb: str, ids: Sequence[UUID], search: Search | None, settle: Settle, *, yes: bool, as_json: bool) -> None:
    if bool(ids) == (search is not None):
        raise CommandError("name ids, or --all with what they have in common")
    if search:
        ids = _asked_for(verb, search, yes=yes)
    failed = with_database(lambda connection: _settle_each(connection, verb, ids, settle))
    done = len(ids) - len(failed)
    past = {"retry": "sent out again", "discard": "discarded"}[verb]
    show({"done": done, "failed": failed}, f"{done} {past}", as_json=as_json)
    if failed:
        raise CommandError("; ".join(f"{item_id}: {why}" for item_id, why in failed.items()))


def _asked_for(verb: str, search: Search, *, yes: bool) -> list[UUID]:
    """The ids of what is meant, once the operator has seen how many of which they are."""
    from operations.dead_letters import listing

    found = with_database(lambda connection: listing.find(connection, search))
    if found and not yes:
        for (consumer, reason), number in Counter((item.consumer, item.reason) for item in found).items():
            typer.echo(f"{number:>8}  {consumer}  {reason}", err=True)
        if not sys.stdin.isatty():
            raise CommandError(f"--yes is needed to {verb} them without being asked")
        typer.confirm(f"{verb} these {len(found)}?", abort=True, err=True)
    return [item.id for item in found]


async def _settle_each(connection: AsyncConnection, verb: str, ids: Sequence[UUID], settle: Settle) -> dict[str, str]:
    """Each in a transaction of its own, with its row in the audit log; why some could not be."""
    from rich.console import Console
    from rich.progress import track

    from operations.errors import OperationError
    from outbox.audit import note_command

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


def _builtins(item: SetAsideSetAside) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(item)
    return fields


def _table(found: Sequence[SetAsideSetAside]) -> str:
    if not found:
        return "nothing"
    lines = []
    for item in found:
        place = item.topic if item.partition is None else f"{item.topic}[{item.partition}]@{item.offset}"
        lines.append(
            f"{item.id}  {item.set_aside_at:%Y-%m-%d %H:%M:%S}  {item.status}  {item.fault}  {item.consumer}  {item.reason}"
        )
        lines.append(f"    {place}  {item.detail[:160]}")
    pages = sorted({(item.reason, item.runbook) for item in found})
    return "\n".join([*lines, *(f"{reason}: see {page}" for reason, page in pages)])
