"""The first screen: whether all is well, in one look."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from console.pages import Screen, page
from gateway.postgres import reading
from operations.dead_letters.store import open_letters
from operations.ledger import books
from operations.lost_records.store import open_losses
from operations.topology.routes import SURVEY

_SPAN: Final = timedelta(days=1)


async def overview(request: web.Request) -> web.Response:
    """Show the page: what Postgres knows at once, what Kafka knows once it answers."""
    return page(request, "overview.html", **await _account(request))


async def account(request: web.Request) -> web.Response:
    """Show the part that Postgres knows, as it is now."""
    return page(request, "_account.html", **await _account(request))


async def workers(request: web.Request) -> web.Response:
    """Show the lag of each worker; while Kafka is away, that it is."""
    seen = await request.app[SURVEY].now()
    return page(request, "_workers.html", kafka=seen.kafka, workers=[agent for agent in seen.agents if agent.kind == "worker"])


async def _account(request: web.Request) -> dict[str, Any]:
    now = datetime.now(UTC)
    async with reading(request) as connection:
        ledger = await books.read(connection, now - _SPAN, now)
        letters = await open_letters(connection)
        losses = await open_losses(connection)
    return {"now": now, "ledger": ledger, "letters": letters, "losses": losses}


SCREEN: Final = Screen(
    "Overview",
    "/console/overview",
    (
        web.get("/overview", overview, name="console_overview"),
        web.get("/overview/account", account, name="console_overview_account"),
        web.get("/overview/workers", workers, name="console_overview_workers"),
    ),
)
