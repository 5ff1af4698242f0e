"""Runtime configuration: values by key that may change while processes run, and a view of them that follows the changes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
import structlog
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from outbox.append import append, event_of
from projections.config_tables import CHANGED_CHANNEL
from runtime.database import UNAVAILABLE, Pool, make_pool
from runtime.listening import Listener
from runtime.tracing import Trace
from schemas.config import ConfigChanged

log = structlog.get_logger()

SOURCE: Final = "/config"
_POLL: Final = 1.0  # seconds; a hint may be lost, and followers are to know within two
_Value = TypeVar("_Value", bool, int, float, str)


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One key as it stands; `version` counts its changes from 1."""

    key: str
    value: Any
    version: int
    updated_at: datetime


class StaleVersion(Exception):
    """The caller has decided on another version than the one that stands; `current` is 0 where the key is unknown."""

    reason: Final = "version_stale"

    def __init__(self, current: int) -> None:
        super().__init__(f"the version is {current} by now")
        self.current = current


class Config:
    """The values of one moment. What was never set, is null, or is of another type than the default has the default's value."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: Mapping[str, Any] = values or {}

    def get(self, key: str, default: _Value) -> _Value:
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return msgspec.convert(value, type(default))
        except msgspec.ValidationError as error:
            log.warning("config_ignored", reason="config_value_unfit", key=key, error=str(error))
            return default

    def replace(self, values: Mapping[str, Any]) -> None:
        """Let these be the values from now on."""
        self._values = values


@asynccontextmanager
async def following(database_url: str) -> AsyncIterator[Config]:
    """
    The configuration, kept up with changes within two seconds.

    It is read before it is handed out where Postgres lets it; with Postgres away it keeps the values it had, at first none.
    """
    config, news = Config(), asyncio.Event()
    pool = make_pool(database_url, size=1, name="config")
    listener = Listener(database_url, CHANGED_CHANNEL, heard=lambda _: news.set(), reconnected=news.set)
    await pool.open(wait=False)
    await _refresh(config, pool)
    await listener.open()
    closing = asyncio.Event()
    follower = asyncio.get_running_loop().create_task(_follow(config, pool, news, closing))
    try:
        yield config
    finally:
        closing.set()
        news.set()
        await follower
        await listener.close()
        await pool.close()


async def _follow(config: Config, pool: Pool, news: asyncio.Event, closing: asyncio.Event) -> None:
    while not closing.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(news.wait(), _POLL)
        news.clear()
        await _refresh(config, pool)


async def _refresh(config: Config, pool: Pool) -> None:
    try:
        async with pool.connection() as connection:
            config.replace({entry.key: entry.value for entry in await read_all(connection)})
    except UNAVAILABLE as error:
        log.warning("config_kept", reason="postgres_unavailable", error=str(error).strip())


async def read_all(connection: AsyncConnection) -> list[Entry]:
    """Every key, in their order."""
    async with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return await (await cursor.execute(f"{_READ} order by key", prepare=True)).fetchall()


async def read(connection: AsyncConnection, key: str) -> Entry | None:
    async with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return await (await cursor.execute(f"{_READ} where key = %s", (key,))).fetchone()


class Change(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a key became; `changed_by` is the public id of the token, `id` that of the call and of `config.changed`."""

    id: UUID
    key: str
    value: Any
    version: int
    changed_at: datetime
    changed_by: str


async def read_history(connection: AsyncConnection, key: str | None, *, first: UUID, before: UUID, limit: int) -> list[Change]:
    """Changes of one key or of all with `first` <= id < `before`, newest first; ids tell the time."""
    async with connection.cursor(row_factory=class_row(Change)) as cursor:
        values = {"key": key, "first": first, "before": before, "limit": limit}
        return await (await cursor.execute(_HISTORY, values)).fetchall()


_HISTORY: Final = """
select id, key, value, version, changed_at, changed_by from config_history
where (%(key)s::text is null or key = %(key)s) and id >= %(first)s and id < %(before)s order by id desc limit %(limit)s
"""
_READ: Final = "select key, value, version, updated_at from config"
# The first change of a key has no row to lock yet.
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('config ' || %s, 0))"
_MADE: Final = "select key, value, version, changed_at as updated_at from config_history where id = %s"
_SET: Final = """
insert into config (key, value, version, updated_at) values (%(key)s, %(value)s, %(version)s, %(at)s)
on conflict (key) do update set value = excluded.value, version = excluded.version, updated_at = excluded.updated_at
"""
_KEEP: Final = """
insert into config_history (key, version, value, id, changed_at, changed_by)
values (%(key)s, %(version)s, %(value)s, %(id)s, %(at)s, %(by)s)
"""


async def change(
    connection: AsyncConnection, key: str, value: Any, *, expected: int | None, change_id: UUID, by: str, trace: Trace
) -> Entry:
    """
    Set the key in the transaction that is open on the connection, keep the change, and append `config.changed` under its id.

    The same `change_id` again changes nothing and returns what it made. Raises StaleVersion where another version than the
    `expected` one stands; 0 expects that the key is unknown.
    """
    await connection.execute(_LOCK, (key,))
    if made := await _made(connection, change_id):
        return made
    standing = await read(connection, key)
    current = standing.version if standing else 0
    if expected is not None and expected != current:
        raise StaleVersion(current)
    entry = Entry(key=key, value=value, version=current + 1, updated_at=datetime.now(UTC))
    row = {"key": key, "value": Jsonb(value), "version": entry.version, "at": entry.updated_at, "id": change_id, "by": by}
    await connection.execute(_SET, row)
    await connection.execute(_KEEP, row)
    event = event_of(
        ConfigChanged(key=key, value=value, version=entry.version, changed_by=by),
        aggregate_id=key,
        source=SOURCE,
        occurred_at=entry.updated_at,
        trace=trace,
        version=entry.version,
    )
    await append(connection, [msgspec.structs.replace(event, id=change_id)])
    await connection.execute("select pg_notify(%s, %s)", (CHANGED_CHANNEL, key))
    return entry


async def _made(connection: AsyncConnection, change_id: UUID) -> Entry | None:
    async with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return await (await cursor.execute(_MADE, (change_id,))).fetchone()
