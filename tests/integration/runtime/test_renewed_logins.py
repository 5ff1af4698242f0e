"""A password that changes refuses no connection, whichever is changed first: the file or the server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from runtime import renewal
from runtime.database import make_pool
from runtime.redis_pool import pool_at, renew_login
from runtime.sessions import connect, connect_async

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW, OTHER = "old0password", "new0password", "other0password"


class Account:
    """An account of Postgres, and its addresses by password."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = f"renewed_{uuid4().hex}"
        self._execute("create role {} login password {}", OLD)

    def takes(self, password: str) -> None:
        self._execute("alter role {} password {}", password)

    def address(self, password: str) -> str:
        return f"postgresql://{self._name}:{password}@{self._url.rpartition('@')[2]}"

    def drop(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(self._name)))

    def _execute(self, statement: str, password: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self._name), password))  # type: ignore[arg-type]  # literal above


@pytest.fixture
def account(database_url: str) -> Iterator[Account]:
    made = Account(database_url)
    yield made
    made.drop()


async def connects(address: str) -> None:
    """Connect in each of our ways. Raises psycopg.OperationalError."""
    connect(address, name="test").close()
    await (await connect_async(address, name="test")).close()
    async with make_pool(address, size=1, name="test") as pool, pool.connection() as connection:
        await connection.execute("select 1")


async def test_the_file_may_be_changed_before_the_server(account: Account) -> None:
    given = account.address(OLD)
    await connects(given)
    renewal.renew(given, account.address(NEW))
    await connects(given)
    account.takes(NEW)
    await connects(given)


async def test_the_server_may_be_changed_before_the_file(account: Account) -> None:
    given = account.address(OLD)
    account.takes(NEW)
    with pytest.raises(psycopg.OperationalError):
        connect(given, name="test")
    renewal.renew(given, account.address(NEW))
    await connects(given)


async def test_where_neither_is_right_the_connection_is_refused(account: Account) -> None:
    given = account.address(OLD)
    renewal.renew(given, account.address(NEW))
    account.takes(OTHER)
    with pytest.raises(psycopg.OperationalError):
        connect(given, name="test")
    with pytest.raises(psycopg.OperationalError):
        await connect_async(given, name="test")


async def test_a_pool_of_redis_logs_in_with_its_current_address(redis_server: str) -> None:
    server = redis_server.rpartition("@")[2].removeprefix("redis://")
    name = f"renewed-{uuid4().hex}"
    with redis.Redis.from_url(redis_server) as admin:
        admin.acl_setuser(name, enabled=True, passwords=[f"+{OLD}"], keys="*", commands=["+@all"])
        pool = pool_at(f"redis://{name}:{OLD}@{server}", retry=Retry(NoBackoff(), 1))
        client = Redis.from_pool(pool)
        assert await logs_in(client)
        admin.acl_setuser(name, enabled=True, passwords=[f"+{NEW}", f"-{OLD}"])
        admin.client_kill_filter(user=name)
        assert not await logs_in(client)
        renew_login(pool, f"redis://{name}:{NEW}@{server}")
        assert await logs_in(client)
        admin.acl_deluser(name)
    await client.aclose()


async def logs_in(client: Redis) -> bool:
    """Report whether the pool, which existed before, can log in."""
    try:
        return bool(await client.ping())
    except redis.AuthenticationError:
        return False
