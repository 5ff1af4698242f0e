"""The first screen: the state of the whole system."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from aiohttp import web
from psycopg import AsyncConnection

from console.links import page_of_alert
from console.pages import Screen, page
from gateway.errors import GatewayError, Reason
from gateway.postgres import reading, refusing_outages
from operations.dead_letters.store import open_letters
from operations.ledger import books
from operations.ledger.books import Ledger
from operations.lost_records.store import OpenLoss, open_losses
from operations.overview import store as state
from operations.overview.store import OpenLetters
from operations.stats import store as stats
from operations.stats.query import Period, StatsQuery
from operations.stats.store import Series
from operations.topology.routes import SURVEY
from runtime.database import Pool
from runtime.shared import Shared

_SPAN: Final = timedelta(days=1)
_HOURS: Final = timedelta(hours=3)
"""The period of the chart. `GET /v1/admin/stats` has longer periods, in larger buckets."""
_FRESH: Final = 4.0  # seconds; the page reloads its parts at most every five
_PATIENCE: Final = 5.0
_LIMIT: Final = 60.0


class Account(NamedTuple):
    """The ledger of the last day, dead letters and lost records, as they were at the time `at`."""

    at: datetime
    ledger: Ledger
    letters: list[tuple[str, str, int]]
    open: OpenLetters
    losses: list[OpenLoss]


ACCOUNT: Final = web.AppKey("account", Shared[Account])
"""Shared by all viewers, since it counts every row of a day."""


class Traffic(NamedTuple):
    """The deliveries of the last hours, by source and minute."""

    chart: dict[str, Any]
    total: int


TRAFFIC: Final = web.AppKey("traffic", Shared[Traffic])
"""Shared by all viewers, since it counts every row of three hours."""


async def overview(request: web.Request) -> web.Response:
    """Show the page: the figures of Postgres at once, those of Kafka when it has answered."""
    return page(request, "overview.html", **await _account(request))


async def account(request: web.Request) -> web.Response:
    """Show the figures of Postgres, as they are now."""
    return page(request, "_account.html", **await _account(request))


async def traffic(request: web.Request) -> web.Response:
    """Show the deliveries per minute, by source."""
    return page(request, "_traffic.html", traffic=await request.app[TRAFFIC].now())


async def troubles(request: web.Request) -> web.Response:
    """Show open alerts with their runbooks, partners in trouble and the connected processes."""
    async with reading(request) as connection:
        return page(request, "_troubles.html", state=await state.overview(connection), page_of_alert=page_of_alert)


def _chart(series: Sequence[Series], period: Period) -> dict[str, Any]:
    """Return the series for the chart, with every bucket of the period; a bucket without rows is zero."""
    times = [period.begin + n * period.width for n in range((period.end - period.begin) // period.width)]
    found = [{point.at: point.number for point in each.points} for each in series]
    columns = [[numbers.get(at, 0) for at in times] for numbers in found]
    return {"names": [each.name for each in series], "columns": [[int(at.timestamp()) for at in times], *columns]}


async def workers(request: web.Request) -> web.Response:
    """Show the lag of each worker, or a notice while Kafka does not answer."""
    seen = await request.app[SURVEY].now()
    return page(request, "_workers.html", kafka=seen.kafka, workers=[agent for agent in seen.agents if agent.kind == "worker"])


async def _account(request: web.Request) -> dict[str, Any]:
    found = await request.app[ACCOUNT].now()
    return {"account": found, "age": (datetime.now(UTC) - found.at).total_seconds() if found else 0.0}


def shared_account(pool: Pool) -> Shared[Account]:
    """Return the account that all viewers of this gateway share."""
    return Shared(lambda: _read(pool), fresh=_FRESH, patience=_PATIENCE)


def shared_traffic(pool: Pool) -> Shared[Traffic]:
    """Return the traffic that all viewers of this gateway share."""
    return Shared(lambda: _count(pool), fresh=_FRESH, patience=_PATIENCE)


async def _read(pool: Pool) -> Account:
    """Read the account. Raises GatewayError `postgres_unavailable`."""
    now = datetime.now(UTC)
    async with _counting(pool, "the account of a day") as connection:
        ledger = await books.read(connection, now - _SPAN, now)
        letters = await open_letters(connection)
        counted = await state.dead_letters(connection, letters)
        return Account(now, ledger, letters, counted, await open_losses(connection))


async def _count(pool: Pool) -> Traffic:
    """Count the traffic. Raises GatewayError `postgres_unavailable`."""
    now = datetime.now(UTC)
    period = StatsQuery(bucket="1m", since=now - _HOURS).period(now)
    async with _counting(pool, "the traffic of the last hours") as connection:
        series = await stats.count(connection, "deliveries", period)
    return Traffic(_chart(series, period), sum(point.number for each in series for point in each.points))


@asynccontextmanager
async def _counting(pool: Pool, what: str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection for a long query, which is refused after a time limit."""
    try:
        async with asyncio.timeout(_LIMIT):
            with refusing_outages():
                async with pool.connection() as connection:
                    yield connection
    except TimeoutError as error:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, f"{what} takes longer than {_LIMIT:.0f} s") from error


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
