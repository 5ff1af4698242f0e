"""Runtime configuration: values by key that may change while processes run, and the history of each key."""

from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row, kwargs_row
from psycopg.types.json import Jsonb

from outbox.append import append, event_of
from outbox.pages import PAGE_BYTES, page_of
from projections.config_keys import RESERVED, UNREADABLE, is_usable
from projections.errors import ProjectionError, Reason
from runtime.tracing import Trace
from schemas.numbers import whole
from schemas.operations import ConfigChanged

SOURCE: Final = "/config"
CONFIG: Final = "config"
"""The table, which notifies the channel of its name at each change (`outbox/hints.py`)."""
_Value = TypeVar("_Value", bool, int, float, str)


class ConfigEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The current value of a key."""

    key: str  #: The key.
    value: Any  #: The current value.
    version: int  #: The key's version, counted from 1.
    updated_at: datetime  #: When it was last set.


def decoded(value: Any) -> Any:
    """Decode a value; returns UNREADABLE, which nothing can use, if that fails."""
    try:
        found = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return UNREADABLE
    return found if (number := whole(found)) is None else number


async def read_all(connection: AsyncConnection) -> list[ConfigEntry]:
    """Read every key, in order; values are JSON as it is stored, since one may be impossible to decode."""
    async with connection.cursor(row_factory=kwargs_row(_entry)) as cursor:
        return await (await cursor.execute(f"{_READ} order by key", prepare=True)).fetchall()


async def read_values(connection: AsyncConnection) -> dict[str, Any]:
    """Read the decoded values of the keys whose first word is reserved."""
    found = await (await connection.execute(_VALUES, (list(RESERVED),), prepare=True)).fetchall()
    return {key: decoded(value) for key, value in found}


async def read(connection: AsyncConnection, key: str) -> ConfigEntry | None:
    """Read one key, with its value as it is stored."""
    async with connection.cursor(row_factory=kwargs_row(_entry)) as cursor:
        return await (await cursor.execute(f"{_READ} where key = %s", (key,))).fetchone()


async def last_usable(connection: AsyncConnection, key: str) -> Any:
    """Read the newest usable value of the key's history; None, which is the default, if there is none."""
    found = await (await connection.execute(_LAST, (key,))).fetchall()
    return next((value for (text,) in found if is_usable(key, value := decoded(text))), None)


async def in_force(connection: AsyncConnection, key: str, default: _Value) -> _Value:
    """Read the value in force of one key."""
    entry = await read(connection, key)
    value = decoded(entry.value) if entry else None
    if not is_usable(key, value):
        value = await last_usable(connection, key)
    return default if value is None else cast("_Value", value)


def _entry(*, key: str, value: str, version: int, updated_at: datetime) -> ConfigEntry:
    return ConfigEntry(key=key, value=msgspec.Raw(value.encode()), version=version, updated_at=updated_at)


class Change(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change of a key."""

    id: UUID  #: The id of the call and of its event `config.changed`.
    key: str  #: The key.
    value: Any  #: The value that was set; null restored the default.
    version: int  #: The key's version after the change, counted from 1.
    changed_at: datetime  #: When it was set.
    changed_by: str  #: The public id of the operator's token.


async def read_history(
    connection: AsyncConnection, key: str | None, *, first: UUID, before: UUID, limit: int
) -> tuple[list[Change], bool]:
    """Read a page of the changes of one key or of all, `first` <= id < `before`, newest first, and True if there are more."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        values = {"key": key, "first": first, "before": before, "limit": limit + 1, "bytes": PAGE_BYTES}
        rows = await (await cursor.execute(_HISTORY, values)).fetchall()
    totals = [row.pop("total") for row in rows]
    return page_of([(_change(**row), total) for row, total in zip(rows, totals, strict=True)], limit)


def _change(*, value: str, **fields: Any) -> Change:
    return Change(value=msgspec.Raw(value.encode()), **fields)


_LAST: Final = "select value::text from config_history where key = %s order by version desc limit 20"
_HISTORY: Final = """
with h as (
  select *, octet_length(value::text) as size from config_history
  where (%(key)s::text is null or key = %(key)s) and id >= %(first)s and id < %(before)s order by id desc limit %(limit)s),
t as (select *, sum(size) over w as total, row_number() over w as place from h window w as (order by id desc))
select id, key, value::text as value, version, changed_at, changed_by, total from t
where total - size <= %(bytes)s or place = 2 order by place
"""
_VALUES: Final = "select key, value::text from config where split_part(key, '.', 1) = any(%s)"
_READ: Final = "select key, value::text as value, version, updated_at from config"
# The first change of a key has no row to lock yet.
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended('config ' || %s, 0))"
_MADE: Final = "select key, value::text as value, version, changed_at as updated_at from config_history where id = %s"
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
) -> ConfigEntry:
    """
    Set the key in the transaction that is open on the connection, keep the change, and append `config.changed` under its id.

    The same `change_id` again changes nothing and returns the entry that it made. Raises ProjectionError if the current version
    is not the `expected` one; 0 expects that the key is unknown.
    """
    await connection.execute(_LOCK, (key,))
    if made := await _made(connection, change_id):
        return made
    found = await read(connection, key)
    current = found.version if found else 0
    if expected is not None and expected != current:
        raise ProjectionError(Reason.VERSION_STALE, f"the current version is {current}")
    entry = ConfigEntry(key=key, value=value, version=current + 1, updated_at=datetime.now(UTC))
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
    return entry


async def _made(connection: AsyncConnection, change_id: UUID) -> ConfigEntry | None:
    async with connection.cursor(row_factory=kwargs_row(_entry)) as cursor:
        return await (await cursor.execute(_MADE, (change_id,))).fetchone()
