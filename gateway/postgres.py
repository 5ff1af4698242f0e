"""Asking the database on behalf of a request: it may be away, and that is a refusal like any other."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
from aiohttp import web
from psycopg.errors import CheckViolation
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import GatewayError, Reason
from gateway.keys import COMMANDS, ENGINE
from runtime.database import UNAVAILABLE, is_missing_day


@asynccontextmanager
async def transaction(request: web.Request) -> AsyncIterator[AsyncConnection]:
    """
    A transaction for this request, committed at its end.

    Raises GatewayError `postgres_unavailable` or `partition_missing`.
    """
    try:
        async with request.app[ENGINE].begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, NoConnectionLeft) as error:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres cannot answer now") from error
    except IntegrityError as error:
        if error.orig and is_missing_day(error.orig):
            raise _no_day() from error
        raise


@asynccontextmanager
async def snapshot(request: web.Request) -> AsyncIterator[psycopg.AsyncConnection]:
    """
    A connection without a transaction, for reads that take long: not one of those that commands need.

    Raises GatewayError `postgres_unavailable`.
    """
    try:
        async with request.app[ENGINE].connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101  # narrows the type
            with refusing_outages():
                yield driver
    except (OperationalError, InterfaceError, NoConnectionLeft) as error:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres cannot answer now") from error


@asynccontextmanager
async def command_transaction(request: web.Request) -> AsyncIterator[psycopg.AsyncConnection]:
    """
    A transaction that commands and events are written in, committed at its end.

    Raises GatewayError `postgres_unavailable` or `partition_missing`.
    """
    with refusing_outages():
        async with request.app[COMMANDS].connection() as connection, connection.transaction():
            yield connection


@contextmanager
def refusing_outages() -> Iterator[None]:
    """Turn psycopg's words for an outage into GatewayError `postgres_unavailable`, and for a missing day `partition_missing`."""
    try:
        yield
    except UNAVAILABLE as error:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres cannot take it now") from error
    except CheckViolation as error:
        if is_missing_day(error):
            raise _no_day() from error
        raise


def _no_day() -> GatewayError:
    return GatewayError(Reason.PARTITION_MISSING, "the day has no partition yet")
