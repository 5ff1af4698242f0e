"""`tallyhook deliveries`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID  # noqa: TC003  # typer reads it at run time

import typer

from operations.output import CommandError, Json, show, with_database
from runtime.settings import environment
from schemas.providers import SOURCES

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from operations.deliveries.explanation import Explanation

app = typer.Typer(no_args_is_help=True, help="Webhooks that came in: why one was refused.")


@app.callback()
def deliveries() -> None:
    """Keep `explain` a word of its own, though it is the only one."""


@app.command("explain")
def explain(
    delivery_id: Annotated[UUID | None, typer.Argument(metavar="ID", help="A delivery's id, as the delivery log has it.")] = None,
    last: Annotated[
        str | None,
        typer.Option(help=f"Instead of an id: the latest one of this source, as {SOURCES[0]}, or endpoint, as {SOURCES[0]}/eu."),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Explain the refusal of a delivery, and the remedy.

    Tries every secret in the settings of this shell, the usual ways in which proxies and frameworks rewrite bodies and headers,
    the clocks, and the modes and accounts of what was accepted lately.
    """
    import msgspec

    if (delivery_id is None) == (last is None):
        raise CommandError("one of an ID and --last SOURCE is needed, not both")
    asked, found = with_database(lambda connection: _explain(connection, delivery_id, last or ""))
    lines = [f"delivery  {asked}", f"cause     {found.cause}", f"found     {found.detail}", f"advice    {found.advice}"]
    lines += [f"secret    {found.secret_id}"] if found.secret_id else []
    show({"id": str(asked)} | msgspec.to_builtins(found), "\n".join(lines), as_json=as_json)


async def _explain(connection: AsyncConnection, delivery_id: UUID | None, source: str) -> tuple[UUID, Explanation]:
    from gateway.settings import GatewaySettings
    from operations.deliveries import clues
    from projections.senders import Senders

    settings = GatewaySettings.load(environment())
    senders = Senders.of(settings)
    await senders.refresh(connection)
    known = clues.settings_of(settings, senders)
    if delivery_id is None:
        last = await clues.latest_explained(connection, source, timedelta(days=1), known)
        if last is None:
            raise CommandError(f"not_found: no refused delivery of {source!r} was kept within a day")
        return last
    found = await clues.explained(connection, delivery_id, known)
    if found is None:
        raise CommandError(f"not_found: no delivery has the id {delivery_id}, or its day is past retention")
    return delivery_id, found
