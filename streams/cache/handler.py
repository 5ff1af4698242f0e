"""
Handles cache commands: removes the keys, and finishes each task with their number.

Every key and pattern gets the prefix, so that nothing else in that Redis can be removed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from hiredis import pack_command
from psycopg import AsyncConnection
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from outbox import tasks
from runtime.database import Pool
from runtime.redis_pool import leave_replica, pool_at, renew_login
from runtime.sessions import DEFAULT_LEASE, kept_alive
from schemas.envelope import Event
from schemas.operations import InvalidateCache
from streams.errors import Transient, TransientReason
from streams.records import data_of
from streams.role import Role, Running
from streams.settings import CacheSettings

_BATCH: Final = 2500  # keys in one UNLINK: the server serves no other client meanwhile
_SCAN: Final = 5000  # keys examined in one SCAN, for the same reason
_START: Final = 0  # the cursor of SCAN, at both ends of a walk

_GLOB: Final = re.compile(r"([\\*?\[\]])")


class Keyspace:
    """
    Removes keys below a prefix, and counts them.

    Raises Transient `redis_unavailable` for every refusal of Redis: these commands are right for any key, so the server or its
    permissions have to change. An interrupted walk starts again, and counts only what it finds then.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._replicas_left = 0
        self._progressed: Callable[[], None] = lambda: None
        self._literal = _GLOB.sub(r"\\\1", prefix)
        self._nobodys = f"{prefix}tallyhook:no-key".encode()

    def on_progress(self, progressed: Callable[[], None]) -> None:
        """Call this after each answer of Redis."""
        self._progressed = progressed

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove exact keys; returns how many of them existed."""
        removed = 0
        for start in range(0, len(keys), _BATCH):  # a command may have a hundred thousand of them, and the prefix may be long
            removed += await self._unlink([f"{self._prefix}{key}".encode() for key in keys[start : start + _BATCH]])
        return removed

    async def remove_matching(self, pattern: str) -> int:
        """
        Remove every key that matches the glob pattern and exists throughout; returns their number.

        Redis looks for the next keys while it removes the last ones. SCAN may show a key twice; UNLINK counts it once.
        """
        match = f"{self._literal}{pattern}".encode()
        removed, before = 0, self._replicas_left
        await self._unlink([self._nobodys])  # a replica answers SCAN, but may lack keys that its primary has: it refuses this
        cursor, found = await self._find(_START, match)
        while cursor != _START:
            unlinking = asyncio.create_task(self._unlink(found))
            try:
                cursor, found = await self._find(cursor, match)
            finally:
                removed += await unlinking
        removed += await self._unlink(found)
        if self._replicas_left != before:  # by another lane: a cursor of one server is not one of another
            raise Transient(TransientReason.REDIS_UNAVAILABLE, "another server has taken over during the walk")
        return removed

    async def _find(self, cursor: int, match: bytes) -> tuple[int, list[bytes]]:
        async with self._refusals_as_transient():
            answer: tuple[int, list[Any]] = await self._client.scan(cursor, match=match, count=_SCAN)
        self._progressed()
        return answer

    async def _unlink(self, names: Sequence[bytes]) -> int:
        removed = 0
        async with self._refusals_as_transient():
            for start in range(0, len(names), _BATCH):
                removed += await self._client.unlink(*names[start : start + _BATCH])
                self._progressed()
        return removed

    @asynccontextmanager
    async def _refusals_as_transient(self) -> AsyncIterator[None]:
        try:
            yield
        except RedisError as error:
            if await leave_replica(self._client.connection_pool, error):
                self._replicas_left += 1
            raise Transient(TransientReason.REDIS_UNAVAILABLE, f"{type(error).__name__}: {error}") from error


class _Packing:
    """Packs UNLINK faster; it is mixed into any of the client's kinds of connection (TCP, TLS, socket)."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # Other commands may have a name of two words, which only the client's own method splits.
        if args[0] == "UNLINK":
            return [pack_command(args)]
        packed: list[bytes] = super().pack_command(*args)  # type: ignore[misc]  # the method of the connection class behind it
        return packed


def client_of(url: str, **options: Any) -> Redis:
    """Return the client of `Redis.from_url`, but with faster packing; closing it also closes its pool."""
    pool = pool_at(url, **options)
    pool.connection_class = type("PackingConnection", (_Packing, pool.connection_class), {})
    return Redis.from_pool(pool)


_PATIENCE: Final = 5.0  # seconds


class CacheHandler:
    """
    The cache worker, as a `streams.role.Handler`.

    Removing a key again changes nothing, so a batch may come again; but after an interruption a task counts only what the last
    attempt removed.
    """

    consumer: Final = "cache"

    def __init__(self, keyspace: Keyspace, lease: timedelta = DEFAULT_LEASE) -> None:
        self._keyspace = keyspace
        self._lease = lease

    def on_progress(self, progressed: Callable[[], None]) -> None:
        self._keyspace.on_progress(progressed)

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        commands = [(event, data_of(event, InvalidateCache)) for event in events]
        for event, command in commands:
            async with kept_alive(connection, self._lease):  # Redis may take longer than a transaction may be silent
                removed = await self._invalidate(command)
            await tasks.finish(connection, event.id, {"invalidated": removed})

    async def _invalidate(self, command: InvalidateCache) -> int:
        removed = await self._keyspace.remove(command.keys) if command.keys else 0
        for pattern in command.patterns:
            removed += await self._keyspace.remove_matching(pattern)
        return removed


@asynccontextmanager
async def _opened(settings: CacheSettings, _: Pool) -> AsyncIterator[Running]:
    once = Retry(NoBackoff(), retries=0)  # the processor waits and retries
    client = client_of(
        settings.redis_url,
        retry=once,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        health_check_interval=30,
        **settings.redis_options,
    )
    settings.on_change(lambda newest: renew_login(client.connection_pool, newest.redis_url), "redis_url")
    try:
        yield Running(CacheHandler(Keyspace(client, settings.cache_key_prefix), settings.lock_lease))
    finally:
        await client.aclose()


CACHE: Final = Role(CacheHandler.consumer, _opened, CacheSettings)
