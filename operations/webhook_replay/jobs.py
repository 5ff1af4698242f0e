"""
The replay jobs: the deliveries that they match, and their progress.

The matching deliveries are stored as items when a replay is requested, so every figure of a replay is a count of its items.
"""

from datetime import datetime
from typing import Any, Final, Literal, LiteralString, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, AsyncCursor, Connection, sql
from psycopg.errors import QueryCanceled
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from operations.errors import OperationError, Reason
from operations.webhook_replay.filters import MATCHED_MAX, Filters, Outcome, ReplayWebhooks
from runtime.ids import first_id_of

State = Literal["running", "done", "failed", "cancelled"]
ItemState = Literal["waiting", "sent", "processed", "unchanged", "failed"]

_SEARCH_LIMIT: Final = "30s"


class Replay(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The replay and its progress."""

    replay_id: UUID  #: The id of the replay.
    state: State  #: The current state; `failed` if a part of it failed.
    matched: int  #: Deliveries that the filters match: the sum of `waiting`, `inFlight`, `processed`, `unchanged` and `failed`.
    waiting: int  #: Number of deliveries that the replay has not reached yet.
    enqueued: int  #: Number of deliveries that were sent to Kafka again.
    in_flight: int  #: Number of deliveries that were sent to Kafka again, and are not handled yet.
    processed: int  #: Number of deliveries that their workers have handled.
    unchanged: int  #: Number of deliveries that had had their effects before.
    failed: int  #: Number of deliveries that failed.
    failures: dict[str, int]  #: Number of failures, by reason.
    rate: float  #: Deliveries per second.
    filters: Filters  #: The filters of the replay.
    requested_by: str  #: The public id of the operator's token.
    reason: str | None  #: The operator's reason; null if none was given.
    created_at: datetime  #: The time of the request.
    finished_at: datetime | None  #: The time of its end; null before.
    failure: str | None  #: The error that ended the replay, in words; null otherwise.


class Job(NamedTuple):
    """A replay without its progress, which is a count of its items."""

    id: UUID
    state: State
    matched: int
    filters: Filters
    requested_by: str
    reason: str | None
    created_at: datetime
    finished_at: datetime | None


class Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A delivery of a replay."""

    n: int  #: The place of the delivery in the replay, counted from 1.
    delivery_id: UUID  #: The id of the delivery.
    source: str  #: A provider, such as `stripe`, or `partner`.
    type: str | None  #: The provider's type of the event; null if unreadable.
    outcome: Outcome  #: The outcome of the delivery at the time of the match.
    ce_id: UUID | None  #: The event's id; null if it has none.
    state: ItemState  #: The current state.
    reason: str | None  #: The reason for which it failed or was unchanged; null otherwise.
    enqueued_at: datetime | None  #: The time at which it was sent to Kafka again; null before.


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Matched deliveries of one kind."""

    source: str  #: A provider, such as `stripe`, or `partner`.
    outcome: Outcome  #: The outcome of the deliveries.
    type: str | None  #: The provider's type of the events; null if unreadable.
    livemode: bool | None  #: False if no real money moves; null if the provider does not state it.
    endpoint: str | None  #: The provider's endpoint; null for the plain path.
    count: int  #: Number of deliveries.
    marked: int  #: Number of deliveries that have had their effects; sending them again changes nothing.
    dead_lettered: int  #: Number of deliveries that are open dead letters.


_MATCHED: Final = """
select distinct on (key) key, id, source, type, outcome, event_id, recovered_as, livemode, endpoint from (
  select *, case when outcome = 'rejected' then id else event_id end as key from webhook_deliveries where {}) d
order by key, (outcome = 'duplicate'), id limit {}
"""
_CREATE: Final = """
insert into webhook_replays (id, requested_by, reason, filters, rate) values (%s, %s, %s, %s, %s) on conflict do nothing
"""
_TAKE: Final = """
insert into webhook_replay_items (replay_id, n, delivery_id, source, type, outcome, event_id)
select {}, row_number() over (order by key), id, source, type, outcome, event_id from ({}) m
"""
_SET_MATCHED: Final = """
update webhook_replays set matched = %(matched)s, state = case when %(matched)s = 0 then 'done' else state end,
       finished_at = case when %(matched)s = 0 then now() end
where id = %(id)s
"""
_PREVIEW: Final = """
with m as materialized ({})
select source, outcome, type, livemode, endpoint, count(*) as count, count(*) filter (where recovered_as is not null
  or marked and not dead_lettered) as marked, count(*) filter (where dead_lettered) as dead_lettered
from (select *, outcome <> 'rejected' and exists (select from consumed c where c.event_id = m.event_id) as marked,
  outcome <> 'rejected' and exists (select from dead_letters l where l.event_id = m.event_id and l.status = 'open')
    as dead_lettered from m) g
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
"""
_READ: Final = """
select r.id as replay_id, r.state, r.matched, r.rate, r.filters, r.requested_by, r.reason, r.created_at, r.finished_at, r.failure,
       c.waiting, c.enqueued, c.in_flight, c.processed, c.unchanged, c.failed, coalesce(f.failures, '{{}}') as failures
from webhook_replays r
cross join lateral (
  select count(*) filter (where state = 'waiting') as waiting, count(enqueued_at) as enqueued,
         count(*) filter (where state = 'sent') as in_flight, count(*) filter (where state = 'processed') as processed,
         count(*) filter (where state = 'unchanged') as unchanged, count(*) filter (where state = 'failed') as failed
  from webhook_replay_items i where i.replay_id = r.id) c
cross join lateral (
  select jsonb_object_agg(reason, number) as failures from (
    select reason, count(*) as number from webhook_replay_items i where i.replay_id = r.id and i.state = 'failed' group by 1) x) f
where {} order by r.id desc limit %(limit)s
"""
_ITEMS: Final = """
select n, delivery_id, source, type, outcome, event_id as ce_id, state, reason, enqueued_at from webhook_replay_items
where replay_id = %(replay_id)s and n > %(after)s and (%(state)s::text is null or state = %(state)s)
order by n limit %(limit)s
"""
_JOBS: Final = """
select id, state, matched, filters, requested_by, reason, created_at, finished_at from webhook_replays
where id < %s order by id desc limit %s
"""
_CANCEL: Final = "update webhook_replays set state = 'cancelled', finished_at = now() where id = %s and state = 'running'"


async def create(connection: AsyncConnection, replay_id: UUID, asked: ReplayWebhooks, by: str) -> int:
    """
    Match the deliveries and store the job in the caller's transaction; a gateway will work on it. Returns the number of matches.

    A second call with the same id changes nothing. Raises OperationError.
    """
    filters = asked.filters
    filters.check()
    job = (replay_id, by, asked.reason, Jsonb(msgspec.to_builtins(filters)), asked.rate)
    if (await connection.execute(_CREATE, job)).rowcount == 0:
        found = await read(connection, replay_id)
        return found.matched if found else 0
    query = sql.SQL(_TAKE).format(sql.Literal(replay_id), _matched(filters))
    matched = (await _search(connection, query)).rowcount
    if matched > MATCHED_MAX:
        raise OperationError(
            Reason.REPLAY_TOO_LARGE, f"more than {MATCHED_MAX} deliveries match: narrow the time, or give a limit"
        )
    await connection.execute(_SET_MATCHED, {"matched": matched, "id": replay_id})
    return matched


async def preview(connection: AsyncConnection, filters: Filters) -> list[Group]:
    """
    Count the deliveries that a replay would match, in the caller's transaction; nothing is changed.

    Raises OperationError.
    """
    filters.check()
    cursor = await _search(connection, sql.SQL(_PREVIEW).format(_matched(filters)))
    groups = [Group(**dict(zip(Group.__struct_fields__, row, strict=True))) for row in await cursor.fetchall()]
    if sum(group.count for group in groups) > MATCHED_MAX:
        raise OperationError(
            Reason.REPLAY_TOO_LARGE, f"more than {MATCHED_MAX} deliveries match: narrow the time, or give a limit"
        )
    return groups


async def refused(connection: AsyncConnection, filters: Filters, limit: int) -> list[UUID]:
    """Return the oldest matched deliveries that were rejected and not recovered, to be checked before a replay."""
    query = sql.SQL("select id from ({}) m where outcome = 'rejected' and recovered_as is null order by id limit {}")
    cursor = await _search(connection, query.format(_matched(filters), sql.Literal(limit)))
    return [row[0] for row in await cursor.fetchall()]


async def read(connection: AsyncConnection, replay_id: UUID) -> Replay | None:
    found = await _replays(connection, "r.id = %(id)s", {"id": replay_id, "limit": 1})
    return found[0] if found else None


async def read_all(connection: AsyncConnection, before: UUID, limit: int) -> list[Replay]:
    """Return the replays with an id below `before`, newest first, with their progress."""
    return await _replays(connection, "r.id < %(before)s", {"before": before, "limit": limit})


async def jobs(connection: AsyncConnection, before: UUID, limit: int) -> list[Job]:
    """Return the replays with an id below `before`, newest first, without counting their items."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        found = await (await cursor.execute(_JOBS, (before, limit))).fetchall()
    return [Job(**row | {"filters": _stored(row["filters"])}) for row in found]


async def items(connection: AsyncConnection, replay_id: UUID, *, state: ItemState | None, after: int, limit: int) -> list[Item]:
    """Return the items of a replay after number `after`, in their order."""
    async with connection.cursor(row_factory=class_row(Item)) as cursor:
        query = {"replay_id": replay_id, "state": state, "after": after, "limit": limit}
        return await (await cursor.execute(_ITEMS, query)).fetchall()


async def cancel(connection: AsyncConnection, replay_id: UUID) -> bool:
    """Cancel a replay: waiting items are not sent, those in flight are still handled. Returns false if it is not running."""
    return (await connection.execute(_CANCEL, (replay_id,))).rowcount == 1


def forget_replays(connection: Connection, before: datetime) -> int:
    """Delete the replays that ended before this time, with their items, and return how many."""
    return connection.execute("delete from webhook_replays where finished_at < %s", (before,)).rowcount


def _matched(filters: Filters) -> sql.Composed:
    """Return the query of the matching deliveries; values are literals, so that Postgres skips days without any of them."""
    first = first_id_of(filters.since) if filters.since else None
    before = first_id_of(filters.until) if filters.until else None
    conditions: list[tuple[LiteralString, Any]] = [
        ("id >= {}", first),
        ("id < {}", before),
        ("id = any({}::uuid[])", list(filters.ids) if filters.ids is not None else None),
        ("source = {}", filters.source),
        ("type = any({}::text[])", list(filters.types) if filters.types is not None else None),
        ("outcome = {}", filters.status),
        ("livemode = {}", None if filters.mode is None else filters.mode == "live"),
        ("account = {}", filters.account),
        ("endpoint = {}", filters.endpoint),
    ]
    where = sql.SQL(" and ").join(sql.SQL(text).format(sql.Literal(value)) for text, value in conditions if value is not None)
    limit = MATCHED_MAX + 1 if filters.limit is None else filters.limit
    return sql.SQL(_MATCHED).format(where, sql.Literal(limit))


async def _search(connection: AsyncConnection, query: sql.Composed) -> AsyncCursor[Any]:
    await connection.execute("select set_config('statement_timeout', %s, true)", (_SEARCH_LIMIT,))
    try:
        return await connection.execute(query, prepare=False)
    except QueryCanceled as error:
        raise OperationError(Reason.REPLAY_TOO_LARGE, f"the search took longer than {_SEARCH_LIMIT}: narrow the time") from error


async def _replays(connection: AsyncConnection, where: LiteralString, values: dict[str, Any]) -> list[Replay]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        found = await (await cursor.execute(sql.SQL(_READ).format(sql.SQL(where)), values)).fetchall()
    return [Replay(**row | {"filters": _stored(row["filters"])}) for row in found]


def _stored(filters: dict[str, Any]) -> Filters:
    """Return the filters of a job without checking them: an older release may have had other rules."""
    return Filters(**{field.name: filters.get(field.encode_name) for field in msgspec.structs.fields(Filters)})
