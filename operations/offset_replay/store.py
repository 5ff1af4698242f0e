"""The SQL of a replay: marks, the days that have marks, and the ranges for workers."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import Connection

from operations.offset_replay.plan import Move
from outbox import partitions
from outbox.offsets import Place

_MARKED: Final = "select event_id from consumed where consumer = %s and event_id = any(%s) and event_id between %s and %s"
_REMEMBERED: Final = "select count(distinct event_id) from history where event_id = any(%s)"
_UNFINISHED: Final = """
select topic, partition, until_offset from offset_replays where consumer = %s and topic = %s and finished_at is null
"""
_SUPERSEDE: Final = """
update offset_replays r set finished_at = now() from unnest(%s::text[], %s::int4[]) as v(topic, partition)
where r.consumer = %s and (r.topic, r.partition) = (v.topic, v.partition) and r.finished_at is null
returning r.id, r.topic, r.partition
"""
_REOPEN: Final = """
update offset_replays r set finished_at = null from unnest(%s::uuid[], %s::text[], %s::int4[]) as v(id, topic, partition)
where (r.id, r.topic, r.partition) = (v.id, v.topic, v.partition)
"""
_WRITE: Final = """
insert into offset_replays (id, consumer, effects, topic, partition, from_offset, until_offset)
select %s::uuid, %s::text, %s::text, t.* from unnest(%s::text[], %s::int4[], %s::int8[], %s::int8[]) as t
"""

# The task of a message is settled together with it.
_SETTLE: Final = """
with outcomes as (select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::int4[]) as t(id, status, reason, attempts)),
settled as (
  update notifications n set status = t.status, reason = t.reason, attempts = greatest(n.attempts, t.attempts),
    next_attempt_at = null, updated_at = now()
  from outcomes t where n.id = t.id and n.status in ('queued', 'sending') returning n.id, n.status, n.reason, n.message_id)
update tasks t set settled_at = now(), status = case when s.status = 'failed' then 'failed' else 'done' end,
  reason = case when s.status = 'failed' then s.reason end,
  result = case when s.status <> 'failed' then jsonb_build_object('status', s.status, 'messageId', s.message_id) end
from settled s where t.id = s.id and t.status = 'pending'
"""
_WAITING: Final = "select count(*) from notifications where status in ('queued', 'sending')"


class Outcome(NamedTuple):
    """The outcome of a message."""

    id: UUID
    status: str
    reason: str | None
    attempts: int


Superseded = list[tuple[UUID, str, int]]


def marked(connection: Connection, consumer: str, ids: Sequence[UUID]) -> set[UUID]:
    """Return the events that the consumer has handled."""
    if not ids:
        return set()
    return {row[0] for row in connection.execute(_MARKED, (consumer, list(ids), min(ids), max(ids)))}


def remembered(connection: Connection, ids: Collection[UUID]) -> int:
    """Return how many of the events are in a history."""
    row = connection.execute(_REMEMBERED, (list(ids),)).fetchone() if ids else None
    return int(row[0]) if row else 0


def marked_days(connection: Connection) -> set[date]:
    """Return the days whose marks are kept."""
    return {partitions.day_of(name) for name in partitions.partitions(connection) if name.startswith("consumed_")}


def unfinished(connection: Connection, consumer: str, topic: str) -> dict[Place, int]:
    """Return the ends of the replays that the worker has not finished."""
    return {Place(row[0], row[1]): row[2] for row in connection.execute(_UNFINISHED, (consumer, topic))}


def write(connection: Connection, replay: UUID, consumer: str, moves: Sequence[Move], effects: str) -> Superseded:
    """Store the ranges for the workers; they replace earlier ranges of the same partitions, which are returned."""
    topics, numbers = [move.place.topic for move in moves], [move.place.partition for move in moves]
    with connection.transaction():
        superseded = connection.execute(_SUPERSEDE, (topics, numbers, consumer)).fetchall()
        ranges = [topics, numbers, [move.target for move in moves], [move.until for move in moves]]
        connection.execute(_WRITE, (replay, consumer, effects, *ranges))
    return superseded


def undo_write(connection: Connection, replay: UUID, superseded: Superseded) -> None:
    """Undo `write`."""
    with connection.transaction():
        connection.execute("delete from offset_replays where id = %s", (replay,))
        connection.execute(_REOPEN, [list(column) for column in zip(*superseded, strict=True)] or [[], [], []])


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> int:
    """Set waiting messages to their outcomes, and return how many were settled."""
    if not outcomes:
        return 0
    with connection.transaction():
        before = connection.execute(_WAITING).fetchone() or (0,)
        connection.execute(_SETTLE, [list(column) for column in zip(*outcomes, strict=True)])
        after = connection.execute(_WAITING).fetchone() or (0,)
    return int(before[0] - after[0])
