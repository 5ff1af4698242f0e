"""A server that turned read-only is left as soon as a writable one exists, and meanwhile counts as away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import ReadOnlySqlTransaction

from runtime.database import make_pool, passing_reason
from runtime.sessions import check_writable, connect, connect_async

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_ONLY = "alter database {} set default_transaction_read_only = {}"


@pytest.fixture
def fenced(database_url: str) -> Iterator[str]:
    """The address of a database whose new sessions are read-only."""
    name = sql.Identifier(database_url.rpartition("/")[2])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL(READ_ONLY).format(name, "on"))
        yield database_url
        connection.execute(sql.SQL(READ_ONLY).format(name, "off"))


async def test_a_pool_keeps_no_session_that_became_read_only(database_url: str) -> None:
    async with make_pool(database_url, size=1, name="test") as pool:
        async with pool.connection() as connection:
            before = connection.info.backend_pid
            await connection.execute("set default_transaction_read_only = on")
            with pytest.raises(ReadOnlySqlTransaction) as refused:
                await connection.execute("create table t (x int)")
        async with pool.connection() as connection:
            assert connection.info.backend_pid != before
            await connection.execute("create table t (x int)")
    assert passing_reason(refused.value) == "postgres_unavailable"


def test_a_new_session_is_known_to_be_read_only(fenced: str) -> None:
    with connect(fenced, name="test") as connection, pytest.raises(psycopg.OperationalError, match="accepts no writes"):
        check_writable(connection)


async def test_a_new_session_is_known_to_be_read_only_in_an_event_loop(fenced: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="accepts no writes"):
        await connect_async(fenced, name="test", writable=True)


def test_one_that_takes_writes_passes(database_url: str) -> None:
    with connect(database_url, name="test") as connection:
        check_writable(connection)
