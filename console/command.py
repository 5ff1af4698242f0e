"""`tallyhook console`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer

from operations.output import Json, operator, show, with_database

if TYPE_CHECKING:
    from psycopg import AsyncConnection

app = typer.Typer(no_args_is_help=True, help="The operators' pages on the internal listener, at /console.")
HOME: Final = "/console/overview"


@app.callback()
def console() -> None:
    """The operators' pages on the internal listener, at /console."""


@app.command("link")
def link(
    to: Annotated[str, typer.Option("--to", metavar="PATH", help="The page that the link opens.")] = HOME,
    url: Annotated[
        str | None,
        typer.Option(envvar="INTERNAL_URL", help="The address of the internal listener; by default the one in the settings."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a link that signs in once, within 15 minutes, as the holder of the newest admin token in this shell's settings."""
    from gateway.settings import GatewaySettings
    from runtime.settings import environment

    settings = GatewaySettings.load(environment())
    scheme = "https" if settings.internal_tls_cert else "http"
    base = url or f"{scheme}://{settings.internal_host}:{settings.internal_port}"

    async def work(connection: AsyncConnection) -> str:
        from gateway.audit_log import note_command

        async with connection.transaction():
            await note_command(connection, "tallyhook console link", operator())
            return await make(connection, base, settings.admin_api_token[0].id, to)

    made = with_database(work)
    show({"url": made}, made, as_json=as_json)


async def make(connection: AsyncConnection, base: str, secret_id: str, to: str = HOME) -> str:
    """Return the address of a new link for the holder of that token; its key is in the fragment, which no browser sends."""
    from console.sessions import Holder, make_link

    key = await make_link(connection, Holder("admin", secret_id))
    return f"{base.rstrip('/')}/console/sign-in?next={quote(to)}#{key}"
