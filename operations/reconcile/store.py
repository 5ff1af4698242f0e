"""The SQL of a reconciliation: our rows, and the marks of the payments worker."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from operations.reconcile.sides import TABLES, Compared
from schemas.stripe import SOURCE

# The time of the first event stands in for the creation of the object, which is not stored.
_FIRST_SEEN: Final = """
select t.id from {table} t where t.provider = %s and t.updated_at >= %s and ({of_kind})
  and t.account is not distinct from %s and (t.livemode is null or t.livemode is not distinct from coalesce(%s, t.livemode))
  and (select min(h.occurred_at) from history h where h.aggregate_type = %s and h.aggregate_id = t.id) >= %s
  and (select min(h.occurred_at) from history h where h.aggregate_type = %s and h.aggregate_id = t.id) < %s
order by t.id
"""
_OF_KIND: Final = {"payment_intent": "t.id like 'pi\\_%%'", "charge": "t.id not like 'pi\\_%%'"}
# Events that we made from objects of the API have no endpoint, as those of the plain path: the key is of their account.
_BY_PLAIN_PATH: Final = """
select count(*) > 0 and bool_and(o.id is not null and o.endpoint is null)
from history h left join outbox o on o.id = h.event_id where h.aggregate_type = %s and h.aggregate_id = %s
"""
# An event that became a dead letter has a mark too.
_HANDLED: Final = "select event_id from consumed where consumer = 'payments' and event_id = any(%s)"


async def rows(connection: AsyncConnection, compared: Compared, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of these objects by id, with the columns that are compared."""
    columns = ", ".join(compared.fields)
    query = f"select id, {columns} from {TABLES[compared.ours].name} where provider = %s and id = any(%s)"
    async with connection.cursor(row_factory=dict_row) as cursor:
        return {row["id"]: row for row in await (await cursor.execute(query.encode(), (SOURCE, list(ids)))).fetchall()}


class Scope(NamedTuple):
    """The owner of the objects: our own account unless a connected `account` is named, in both modes if `livemode` is None."""

    account: str | None
    livemode: bool | None


async def first_seen(
    connection: AsyncConnection, compared: Compared, scope: Scope, since: datetime, until: datetime
) -> list[str]:
    """Return the ids of the objects whose first event is in the period, by the provider's clock."""
    query = _FIRST_SEEN.format(table=TABLES[compared.ours].name, of_kind=_OF_KIND.get(compared.kind, "true"))
    values = (SOURCE, since, *scope, compared.ours, since, compared.ours, until)
    return [row[0] for row in await (await connection.execute(query.encode(), values)).fetchall()]


async def came_by_plain_path(connection: AsyncConnection, compared: Compared, object_id: str) -> bool:
    """
    Return true if the object is known to be of the account of the plain path: all its events are still kept and came by it.

    An endpoint may be of another account, to whose objects the key has no access.
    """
    row = await (await connection.execute(_BY_PLAIN_PATH, (compared.ours, object_id))).fetchone()
    return row is not None and bool(row[0])


async def handled(connection: AsyncConnection, events: Sequence[UUID]) -> set[UUID]:
    """Return the events that the payments worker has handled or set aside."""
    return {row[0] for row in await (await connection.execute(_HANDLED, (list(events),))).fetchall()}
