"""
Counts how often each of our secrets proves a caller, by its public id, over all processes.

A use is a number in memory; every few seconds they are added to slots of five minutes, in one statement. So a process that is
killed loses seconds of them, and a time of use is true to some seconds.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from psycopg import AsyncConnection, Connection
from psycopg.rows import class_row

from gateway.write_behind import WriteBehind
from runtime.database import Pool

KEPT: Final = timedelta(days=30)
"""For how long uses are remembered; longer than any overlap of two secrets."""
_SLOT: Final = timedelta(minutes=5)
_EVERY: Final = timedelta(seconds=3)


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The uses of one secret; `last_hour` covers the last 60 to 65 minutes."""

    setting: str
    secret_id: str
    first_used_at: datetime
    last_used_at: datetime
    last_hour: int


class SecretUses:
    """
    Counts uses without waiting, and writes them beside the requests.

    `settings` returns the settings that hold a secret, by its public id.
    """

    def __init__(self, url: str, settings: Callable[[str], tuple[str, ...]], *, every: timedelta = _EVERY) -> None:
        self._settings = settings
        self._counts: Counter[tuple[str, str]] = Counter()
        self._buffer = WriteBehind(url, self._flush, name="secret_uses", every=every, waiting=self._counts.total)

    async def open(self) -> None:
        await self._buffer.open()

    async def close(self) -> None:
        """Write the rest as far as Postgres lets it, and disconnect."""
        await self._buffer.close()

    def count(self, secret_id: str) -> None:
        """Count a use of a secret under each of the settings that hold it."""
        for setting in self._settings(secret_id):
            self._counts[setting, secret_id] += 1
        self._buffer.wake()

    async def flush(self) -> None:
        """Write what has been counted so far."""
        await self._buffer.flush()

    async def _flush(self, pool: Pool) -> None:
        counts = dict(self._counts)
        self._counts.clear()
        if not counts:
            return
        try:
            async with pool.connection() as connection:
                await add(connection, counts, datetime.now(UTC))
        except Exception:
            self._counts.update(counts)
            raise


# In one order, so that two gateways do not deadlock.
_ADD: Final = """
insert into secret_uses as u (setting, secret_id, slot, uses, first_used_at, last_used_at)
select setting, secret_id, date_bin(%(slot)s, %(now)s, 'epoch'), uses, %(now)s, %(now)s
from unnest(%(settings)s::text[], %(ids)s::text[], %(uses)s::int8[]) as t(setting, secret_id, uses) order by setting, secret_id
on conflict (setting, secret_id, slot) do update set uses = u.uses + excluded.uses,
  first_used_at = least(u.first_used_at, excluded.first_used_at), last_used_at = greatest(u.last_used_at, excluded.last_used_at)
"""
_READ: Final = """
select setting, secret_id, min(first_used_at) as first_used_at, max(last_used_at) as last_used_at,
       coalesce(sum(uses) filter (where slot > %(now)s - interval '1 hour' - %(slot)s), 0)::int8 as last_hour
from secret_uses group by 1, 2 order by 1, 2
"""


async def add(connection: AsyncConnection, counts: dict[tuple[str, str], int], now: datetime) -> None:
    """Add uses, by setting and public id, to the slot of that time."""
    settings, ids = [setting for setting, _ in counts], [secret_id for _, secret_id in counts]
    values = {"slot": _SLOT, "now": now, "settings": settings, "ids": ids, "uses": list(counts.values())}
    await connection.execute(_ADD, values)


async def read(connection: AsyncConnection, now: datetime) -> list[Use]:
    """Every secret that was used within the kept period."""
    async with connection.cursor(row_factory=class_row(Use)) as cursor:
        return await (await cursor.execute(_READ, {"now": now, "slot": _SLOT})).fetchall()


def forget_uses(connection: Connection, now: datetime) -> int:
    """Delete slots whose time is over; how many."""
    return connection.execute("delete from secret_uses where slot < %s", (now - KEPT,)).rowcount
