"""Connections to Postgres for a request: an outage becomes a refusal."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from aiohttp import web
from psycopg.errors import CheckViolation

from gateway.errors import GatewayError, Reason
from gateway.keys import COMMANDS, READS
from runtime.database import UNAVAILABLE, is_missing_day


@asynccontextmanager
async def transaction(request: web.Request) -> AsyncIterator[psycopg.AsyncConnection]:
    """
    A transaction for this request, committed at its end.

    Raises GatewayError `postgres_unavailable` or `partition_missing`.
    """
    with refusing_outages():
        async with request.app[COMMANDS].connection() as connection, connection.transaction():
            yield connection


@asynccontextmanager
async def reading(request: web.Request) -> AsyncIterator[psycopg.AsyncConnection]:
    """
    A connection in autocommit mode for reads that may take long: commands have their own pool.

    Raises GatewayError `postgres_unavailable`.
    """
    with refusing_outages():
        async with request.app[READS].connection() as connection:
            yield connection


@contextmanager
def refusing_outages() -> Iterator[None]:
    """Turn psycopg's errors into GatewayError: an outage into `postgres_unavailable`, a missing day into `partition_missing`."""
    try:
        yield
    except UNAVAILABLE as error:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is unavailable") from error
    except CheckViolation as error:
        if is_missing_day(error):
            raise GatewayError(Reason.PARTITION_MISSING, "the day has no partition yet") from error
        raise
