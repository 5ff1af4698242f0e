"""The first screen: whether all is well, in one look."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from console.pages import Screen, page
from gateway.postgres import reading
from operations.dead_letters.store import open_letters
from operations.ledger import books
from operations.lost_records.store import open_losses
from operations.overview import store as state
from operations.stats import store as stats
from operations.stats.query import Period, StatsQuery
from operations.stats.store import Series
from operations.topology.routes import SURVEY

_SPAN: Final = timedelta(days=1)


async def overview(request: web.Request) -> web.Response:
    """Show the page: what Postgres knows at once, what Kafka knows once it answers."""
    return page(request, "overview.html", **await _account(request))


async def account(request: web.Request) -> web.Response:
    """Show the part that Postgres knows, as it is now."""
    return page(request, "_account.html", **await _account(request))


async def traffic(request: web.Request) -> web.Response:
    """Show what came in by the minute, of each source."""
    period = StatsQuery(bucket="1m").period(datetime.now(UTC))
    async with reading(request) as connection:
        series = await stats.count(connection, "deliveries", period)
    return page(
        request, "_traffic.html", chart=_chart(series, period), total=sum(p.number for each in series for p in each.points)
    )


async def troubles(request: web.Request) -> web.Response:
    """Show open alerts with their runbooks, partners in trouble and the connected processes."""
    async with reading(request) as connection:
        return page(request, "_troubles.html", state=await state.overview(connection))


def _chart(series: Sequence[Series], period: Period) -> dict[str, Any]:
    """The series over every bucket of the period, as the chart takes them; a bucket without rows is a zero."""
    times = [period.begin + n * period.width for n in range((period.end - period.begin) // period.width)]
    found = [{point.at: point.number for point in each.points} for each in series]
    columns = [[numbers.get(at, 0) for at in times] for numbers in found]
    return {"names": [each.name for each in series], "columns": [[int(at.timestamp()) for at in times], *columns]}


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
        web.get("/overview/traffic", traffic, name="console_overview_traffic"),
        web.get("/overview/troubles", troubles, name="console_overview_troubles"),
        web.get("/overview/workers", workers, name="console_overview_workers"),
    ),
)
