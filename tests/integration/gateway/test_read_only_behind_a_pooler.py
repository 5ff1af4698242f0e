"""
Postgres that accepts no writes, behind PgBouncer.

PgBouncer tells every client what Postgres reported at the first login of the pool, so that the report may be untrue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from gateway import metrics
from runtime.database import make_pool
from runtime.sessions import is_read_only, reports_read_only
from tests.pgbouncer import PgBouncer
from tests.simulators.stripe import Payment
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.gateways import Gateway, StartGateway

_END = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


class Database:
    """The database without the pooler."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection

    async def turn(self, *, read_only: bool) -> None:
        """Make all sessions new ones, which accept no writes, or do again."""
        query = sql.SQL("alter database {} set default_transaction_read_only = {}")
        name = sql.Identifier(self._connection.info.dbname)
        await self._connection.execute(query.format(name, "on" if read_only else "off"))
        await self._connection.execute(_END)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Database(connection)


@pytest.fixture
def pooler(servers_dir: Path, database_url: str) -> Iterator[PgBouncer]:
    name = database_url.rpartition("/")[2]
    server = PgBouncer(servers_dir / f"pooler-{name}" / "pgbouncer", database_url)
    server.start()
    yield server
    server.stop()


async def answers(gateway: Gateway, status: int) -> bool | None:
    return True if (await gateway.get("/health/ready")).status == status else None


async def each_lane_tried_again() -> None:
    before = metrics.INTAKE_RECONNECTS._value.get()

    async def tried() -> bool | None:
        return True if metrics.INTAKE_RECONNECTS._value.get() >= before + 6 else None

    await eventually(tried, seconds=20)


async def test_a_gateway_is_ready_once_postgres_takes_writes_whatever_the_pooler_reports(
    start_gateway: StartGateway, database: Database, pooler: PgBouncer
) -> None:
    await database.turn(read_only=True)
    async with start_gateway(ready=False, DATABASE_URL=pooler.url) as gateway:
        await each_lane_tried_again()
        assert await answers(gateway, 503)
        await database.turn(read_only=False)
        await eventually(lambda: answers(gateway, 200))
        assert (await gateway.post(Payment().succeeded(1_763_561_586))).status == 200
        async with await psycopg.AsyncConnection.connect(pooler.url) as connection:
            assert reports_read_only(connection)  # otherwise this test proves nothing


async def test_a_gateway_is_not_ready_while_postgres_takes_no_writes_whatever_the_pooler_reports(
    start_gateway: StartGateway, database: Database, pooler: PgBouncer
) -> None:
    async with start_gateway(DATABASE_URL=pooler.url) as gateway:
        assert await answers(gateway, 200)
        await database.turn(read_only=True)
        await each_lane_tried_again()
        assert await answers(gateway, 503)
        async with await psycopg.AsyncConnection.connect(pooler.url) as connection:
            assert not reports_read_only(connection)
        await database.turn(read_only=False)
        await eventually(lambda: answers(gateway, 200))


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_pool_judges_its_sessions_by_the_server_and_not_by_an_untrue_report(
    database: Database, pooler: PgBouncer, *, read_only: bool
) -> None:
    await database.turn(read_only=not read_only)
    async with await psycopg.AsyncConnection.connect(pooler.url) as connection:
        assert reports_read_only(connection) is not read_only  # the pooler keeps this report
    await database.turn(read_only=read_only)
    async with make_pool(pooler.url, size=1, name="test") as pool:
        async with pool.connection() as first:
            assert await is_read_only(first) is read_only
            assert reports_read_only(first) is not read_only
        async with pool.connection() as second:
            assert (second is first) is not read_only
