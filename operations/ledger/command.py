"""`tallyhook ledger`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from operations.output import WHEN, CommandError, Json, parse_moment, show, with_database
from schemas.endpoints import place_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.ledger.books import EndpointLedger, Ledger, SourceLedger
    from operations.lost_records.store import OpenLoss

_COLUMNS: Final = {
    "received": "received",
    "rejected": "rejected",
    "duplicates": "duplicates",
    "ignored": "ignored",
    "processed": "processed",
    "in_flight": "in flight",
    "dead_lettered": "dead-lettered",
}
_NOTES: Final = {
    "waiting_for_kafka": "of those in flight wait for Kafka",
    "parked": "of the dead-lettered are parked by the relay",
    "discarded": "of the dead-lettered were discarded",
    "recovered": "of the rejected were recovered by a replay",
}


def ledger(
    begin: Annotated[str, typer.Option("--from", help=f"The period's beginning. {WHEN}")] = "24h",
    end: Annotated[str, typer.Option("--to", help=f"The period's end. {WHEN}")] = "0s",
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if it does not balance.")] = False,
    as_json: Json = False,
) -> None:
    """Account for all deliveries: received = rejected + duplicates + ignored + processed + in flight + dead-lettered."""
    from operations.ledger import books
    from operations.lost_records import store as lost_search

    now = datetime.now(UTC)
    period = parse_moment(begin, now), parse_moment(end, now)

    async def look(connection: AsyncConnection) -> tuple[Ledger, list[OpenLoss]]:
        return await books.read(connection, *period), await lost_search.open_losses(connection)

    found, losses = with_database(look)
    data = msgspec.to_builtins(found) | {"lostByKafka": msgspec.to_builtins(losses)}
    show(data, "\n".join([_text(found), *map(_loss, losses)]), as_json=as_json)
    if check and not found.balanced:
        raise CommandError("the ledger does not balance: see runbooks/ledger.md")


def _text(found: Ledger) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = f"{_time(found.from_)} to {_time(found.to)}" + (": the older part is past retention" if found.clipped else "")
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("source")
    for name in _COLUMNS.values():
        table.add_column(name, justify="right")
    for source in found.sources:
        table.add_row(source.source, *_row(source))
        for each in found.endpoints:
            if each.source == source.source:
                table.add_row(f"  of it by {place_of(each.source, each.endpoint)}", *_row(each))
    notes = list(_notes(found))
    return "\n".join([_drawn(table), *notes, "balanced" if found.balanced else "NOT BALANCED: see runbooks/ledger.md"])


def _row(figures: SourceLedger | EndpointLedger) -> list[str]:
    return [_number(getattr(figures, field)) for field in _COLUMNS]


def _notes(found: Ledger) -> list[str]:
    notes = [
        f"{source.source}: {_number(number)} {text}"
        for source in found.sources
        for field, text in _NOTES.items()
        if (number := getattr(source, field, 0))
    ]
    notes += [
        f"{source.source}: the oldest in flight arrived at {_time(source.oldest_in_flight)}"
        for source in found.sources
        if source.oldest_in_flight
    ]
    notes += [
        f"{more.source}: {_number(more.rejected)} more were rejected from {_time(more.from_hour)} to {_time(more.to_hour)},"
        " counted by the hour and not kept"
        for more in found.not_kept
    ]
    notes += [f"commands {each.kind}: {each.done} done, {each.pending} pending, {each.failed} failed" for each in found.commands]
    return notes + [f"{lost.source}: {lost.id} is {_WHAT[lost.what]}" for lost in found.unexplained]


def _loss(loss: OpenLoss) -> str:
    lost = f"Kafka has lost {loss.topic}/{loss.partition} from {loss.from_offset} to {loss.until_offset}"
    waiting = f"{_number(loss.waiting)} events that were sent again are not handled yet"
    sent = waiting if loss.searched else "events are being sent again"
    return f"{lost}, which the {loss.consumer} worker had not read: {sent}; see runbooks/records-lost.md"


_WHAT: Final = {"missing": "a delivery without its event", "unlogged": "an event without its delivery"}


def _drawn(table: Any) -> str:
    from rich.console import Console

    console = Console(width=120, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _number(number: int) -> str:
    return f"{number:,}"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
