"""Handles cache commands: removes the keys, and finishes each task with their number."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from psycopg import AsyncConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from outbox import tasks
from runtime.database import Pool
from runtime.redis_address import readdress
from schemas.cache import InvalidateCache
from schemas.envelope import Event
from streams.cache.connection import client_of
from streams.cache.keyspace import Keyspace
from streams.records import data_of
from streams.role import Role, Running
from streams.settings import CacheSettings

_PATIENCE: Final = 5.0  # seconds


class CacheHandler:
    """
    The cache worker, as a `streams.handler.Handler`.

    Removing twice is removing once, so a batch that comes again does no harm; but after an interruption a task counts only what
    the last attempt removed.
    """

    consumer: Final = "cache"

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        commands = [(event, data_of(event, InvalidateCache)) for event in events]
        for event, command in commands:
            removed = await self._keyspace.remove(command.keys) if command.keys else 0
            for pattern in command.patterns:
                removed += await self._keyspace.remove_matching(pattern)
            await tasks.finish(connection, event.id, {"invalidated": removed})


@asynccontextmanager
async def _opened(settings: CacheSettings, _: Pool) -> AsyncIterator[Running]:
    once = Retry(NoBackoff(), retries=0)  # the processor owns the waiting
    client = client_of(
        settings.redis_url, retry=once, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, health_check_interval=30
    )
    settings.on_change(lambda newest: readdress(client.connection_pool, newest.redis_url))
    try:
        yield Running(CacheHandler(Keyspace(client, settings.cache_key_prefix)))
    finally:
        await client.aclose()


CACHE: Final = Role(CacheHandler.consumer, _opened, CacheSettings)
