"""The state of the retention, as the upkeep of the relays stored it in Postgres; only the relays know its settings."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from outbox.upkeep import EVERY

Kind = Literal["days", "leads", "notifications"]

_CUTOFFS: Final = "select kind, cutoff as kept_from, moved_at from retention_cutoffs order by kind"
_AWAY: Final = "select partition, detached_at from detached_partitions order by right(partition, 8), partition"


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the answer; unknown values are left out."""


class Kept(_View, frozen=True, kw_only=True):
    """The records of one kind, and how far back they are kept."""

    kind: Kind  #: `days`: deliveries, events, marks, tasks and the audit log. `leads`, `notifications`: those that are settled.
    kept_from: datetime  #: The time before which they have been deleted.
    moved_at: datetime  #: The time at which the retention last moved on.


class Away(_View, frozen=True, kw_only=True):
    """A detached day of a table. It can be attached again until it is dropped, RETENTION_GRACE after it was detached."""

    partition: str  #: The name of the partition, such as `outbox_20261124`.
    detached_at: datetime  #: The time at which it was detached.


class Retention(_View, frozen=True, kw_only=True):
    """The kept records, the detached days, and the runs of the upkeep."""

    at: datetime  #: The time of the answer, by Postgres' clock.
    kept: list[Kept]  #: The kinds of records; empty before the first run.
    away: list[Away]  #: The detached days, oldest first.
    last_run: datetime | None = None  #: The last run that moved on; absent before the first.
    next_run: datetime | None = None  #: The time at which the next run is due: a relay runs one every hour.

    @property
    def overdue(self) -> bool:
        """True if the next run is long overdue, so no relay runs."""
        return self.next_run is not None and self.at > self.next_run + EVERY


async def read(connection: AsyncConnection) -> Retention:
    """Read the state of the retention."""
    [clock] = await _rows(connection, "select now() as at")
    kept = [Kept(**row) for row in await _rows(connection, _CUTOFFS)]
    last = max((each.moved_at for each in kept), default=None)
    return Retention(
        at=clock["at"],
        kept=kept,
        away=[Away(**row) for row in await _rows(connection, _AWAY)],
        last_run=last,
        next_run=last + EVERY if last else None,
    )


async def _rows(connection: AsyncConnection, statement: str) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement.encode())).fetchall()
