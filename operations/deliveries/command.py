"""`tallyhook deliveries`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003  # typer reads it at run time

import typer

from operations.output import WHEN, CommandError, Json, parse_moment, show, with_database
from runtime.settings import environment
from schemas.endpoints import place_of
from schemas.providers import SOURCES, either

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.deliveries.explanation import Explanation
    from operations.deliveries.query import DeliveriesQuery
    from operations.deliveries.store import Delivery

app = typer.Typer(no_args_is_help=True, help="Webhooks that arrived: list them, and explain why one was refused.")


@app.command("list")
def list_deliveries(  # one option for each field of the query
    *,
    source: Annotated[str | None, typer.Option(help=f"Only those of this source: {either(SOURCES)}.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Only those by this endpoint of their source, such as eu.")] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="accepted|duplicate|ignored|rejected", help="Only those with this outcome.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only those that were rejected or ignored for this reason.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Only events of this type of the provider.")] = None,
    account: Annotated[str | None, typer.Option(help="Only those of this account of the provider.")] = None,
    since: Annotated[str, typer.Option("--from", help=f"The beginning of the period. {WHEN}")] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number.")] = 50,
    as_json: Json = False,
) -> None:
    """List the deliveries of providers and partners, newest first: time, source, outcome and reason."""
    import msgspec

    from gateway.errors import GatewayError
    from gateway.parameters import parse_query
    from operations.deliveries.query import DeliveriesQuery

    now = datetime.now(UTC)
    words = {"source": source, "endpoint": endpoint, "outcome": outcome, "reason": reason, "type": kind, "account": account}
    given = {name: word for name, word in words.items() if word is not None}
    try:
        query = parse_query(
            DeliveriesQuery, [*given.items(), ("from", parse_moment(since, now).isoformat()), ("limit", str(limit))]
        )
        span = query.span(now)
    except GatewayError as error:
        raise CommandError(f"{error.reason}: {error}") from error
    found, more = with_database(lambda connection: read_pages(connection, query, *span))
    lines = [*map(_line, found)] or ["no delivery matches"]
    lines += ["there are more: narrow the list, or raise --limit"] if more else []
    show({"deliveries": msgspec.to_builtins(found), "more": more}, "\n".join(lines), as_json=as_json)


async def read_pages(
    connection: AsyncConnection, query: DeliveriesQuery, first: UUID, before: UUID
) -> tuple[list[Delivery], bool]:
    """Return up to `limit` deliveries, page by page, and whether there are more."""
    from operations.deliveries import store

    found, last = await store.deliveries(connection, query, first, before)
    while last and len(found) < query.limit:
        items, last = await store.deliveries(connection, query, first, last)
        found += items
    return found[: query.limit], last is not None or len(found) > query.limit


def _line(delivery: Delivery) -> str:
    place, about = place_of(delivery.source, delivery.endpoint), delivery.reason or delivery.type or ""
    return f"{delivery.received_at:%Y-%m-%d %H:%M:%S}Z  {place:20} {delivery.outcome:9} {about:40} {delivery.id}"


@app.command("explain")
def explain(
    delivery_id: Annotated[UUID | None, typer.Argument(metavar="ID", help="Its id, as `deliveries list` shows it.")] = None,
    last: Annotated[
        str | None,
        typer.Option(help=f"Instead of an id: the latest one of this source, as {SOURCES[0]}, or endpoint, as {SOURCES[0]}/eu."),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Explain the refusal of a delivery, and the remedy.

    It tries every secret in the settings of this shell and the usual changes of bodies and headers by proxies and frameworks,
    and compares the clocks, and the modes and accounts of the deliveries that were accepted recently.
    """
    import msgspec

    if (delivery_id is None) == (last is None):
        raise CommandError("give either an ID or --last SOURCE")
    asked, found = with_database(lambda connection: _explain(connection, delivery_id, last or ""))
    lines = [f"delivery  {asked}", f"cause     {found.cause}", f"found     {found.detail}", f"advice    {found.advice}"]
    lines += [f"secret    {found.secret_id}"] if found.secret_id else []
    show({"id": str(asked)} | msgspec.to_builtins(found), "\n".join(lines), as_json=as_json)


async def _explain(connection: AsyncConnection, delivery_id: UUID | None, source: str) -> tuple[UUID, Explanation]:
    from gateway.settings import GatewaySettings
    from operations.deliveries import circumstances
    from projections.senders import Senders

    settings = GatewaySettings.load(environment())
    senders = Senders.of(settings)
    await senders.refresh(connection)
    known = circumstances.inputs_of(settings, senders)
    if delivery_id is None:
        last = await circumstances.explain_latest(connection, source, timedelta(days=1), known)
        if last is None:
            raise CommandError(f"not_found: no refused delivery of {source!r} was kept within a day")
        return last
    found = await circumstances.explain_delivery(connection, delivery_id, known)
    if found is None:
        raise CommandError(f"not_found: no delivery has the id {delivery_id}, or its day is past retention")
    return delivery_id, found
