"""The rows of rejected deliveries: those that are kept, and the count of each hour."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from gateway.webhooks.worth import choose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from gateway.webhooks.rejections import Quota, Rejected
    from gateway.webhooks.worth import Candidate

_LISTED: Final = timedelta(days=1)  # for which an hour's kept rows are listed: a gateway that waited for Postgres is late


class _Held(NamedTuple):
    """A row that is kept already."""

    id: UUID
    client: str
    worth: int


async def make_room(
    connection: AsyncConnection, quota: Quota, mine: Sequence[Rejected], kept_per_hour: int
) -> tuple[list[Rejected], int]:
    """Make room for worthier rows: returns those of `mine` to write, and the number of kept ones that were deleted for them."""
    number = await _lock_quota(connection, quota)
    if not mine:
        return [], 0
    held = await _held(connection, quota)
    candidates: list[Candidate] = [*held, *mine]
    # Rows of gateways of an older version, which list nothing, stay.
    best = {each.id for each in choose(candidates, max(0, kept_per_hour - (number - len(held))))}
    gone = await _displace(connection, quota, [each.id for each in held if each.id not in best])
    room = max(0, kept_per_hour - (number - gone))
    return [row for row in choose(mine, len(mine)) if row.id in best][:room], gone


_LOCK_QUOTA: Final = """
insert into rejected_quota as q (source, hour, kept) values (%s, %s, 0)
on conflict (source, hour) do update set kept = q.kept returning kept
"""
_ADD: Final = "update rejected_quota set kept = kept + %s, refused = refused + %s where source = %s and hour = %s"
_HELD: Final = "select id, client, worth from rejected_kept where source = %s and hour = %s"
_LIST: Final = "insert into rejected_kept (source, hour, id, client, worth) values (%s, %s, %s, %s, %s)"
_UNLIST: Final = "delete from rejected_kept where source = %s and hour = %s and id = any(%s)"
_FORGET: Final = "delete from rejected_kept where hour < %s"
_TRANSACTION_ID: Final = "select pg_current_xact_id()::text"
# An id that this server has not assigned yet is of another server, which has lost the transaction.
_IS_COMMITTED: Final = """
select case coalesce(case when %(id)s::xid8 < pg_current_xact_id() then pg_xact_status(%(id)s::xid8) end, 'aborted')
  when 'committed' then true when 'aborted' then false end
"""
# It does not wait for a replay, which locks such rows in another order.
_DISPLACE: Final = """
delete from webhook_deliveries where id in (
  select id from webhook_deliveries
  where id = any(%s) and id >= %s and id <= %s and outcome = 'rejected' and recovered_as is null for update skip locked)
returning id
"""
_INSERT: Final = """
insert into webhook_deliveries (id, source, endpoint, outcome, reason, trace_id, client, headers, body)
values (%s, %s, %s, 'rejected', %s, %s, %s, %s, %s)
"""


async def transaction_id(connection: AsyncConnection) -> str:
    """The id of the transaction, for `is_committed`."""
    row = await (await connection.execute(_TRANSACTION_ID)).fetchone()
    assert row is not None  # noqa: S101  # narrows the type
    return str(row[0])


async def is_committed(connection: AsyncConnection, transaction: str) -> bool | None:
    """Return True if the transaction was committed, False if not, None while it is under way."""
    row = await (await connection.execute(_IS_COMMITTED, {"id": transaction})).fetchone()
    return row[0] if row else None


async def _lock_quota(connection: AsyncConnection, quota: Quota) -> int:
    """Lock the quota, and return the number of kept rows; no other gateway adds one before this transaction ends."""
    cursor = await connection.execute(_LOCK_QUOTA, quota)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def add(connection: AsyncConnection, quota: Quota, *, kept: int, refused: int) -> None:
    await connection.execute(_ADD, (kept, refused, *quota))


async def _held(connection: AsyncConnection, quota: Quota) -> list[_Held]:
    async with connection.cursor(row_factory=class_row(_Held)) as cursor:
        await cursor.execute(_HELD, quota)
        return await cursor.fetchall()


async def _displace(connection: AsyncConnection, quota: Quota, ids: Sequence[UUID]) -> int:
    """Delete kept rows, and return their number. Rows that were verified since, or are being verified now, stay."""
    if not ids:
        return 0
    cursor = await connection.execute(_DISPLACE, (list(ids), min(ids), max(ids)))
    gone = [row[0] for row in await cursor.fetchall()]
    await connection.execute(_UNLIST, (*quota, gone))
    return len(gone)


async def insert(connection: AsyncConnection, rows: Sequence[Rejected]) -> None:
    if rows:
        cursor = connection.cursor()
        values = [(r.id, r.source, r.endpoint, r.reason, r.trace_id, r.client, Jsonb(r.headers), r.body) for r in rows]
        await cursor.executemany(_INSERT, values)
        await cursor.executemany(_LIST, [(*r.quota, r.id, r.client or "", r.worth) for r in rows])
        await cursor.execute(_FORGET, (min(r.quota[1] for r in rows) - _LISTED,))
