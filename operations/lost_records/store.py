"""
The SQL that sends records again that Kafka has lost.

The log is searched for events of the topic without a mark of the consumer, and those become pending rows of the relay again, with
the same ids: an event that was handled has its mark, so it is not handled twice.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from operations.ledger.books import kept_from
from operations.ledger.states import end_of_ids
from outbox import sending
from outbox.append import shard_of
from outbox.clock import read_clock_async
from outbox.erased import is_marker
from outbox.lost import TopicState
from outbox.offsets import Place
from outbox.resend import TYPE as RAW
from runtime.ids import first_id_of, time_of

_STEP: Final = timedelta(hours=6)  # the span of the log that one transaction searches


class OpenLoss(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A range of offsets that Kafka lost and that is not completely handled yet."""

    consumer: str  #: The worker role that noticed the gap.
    topic: str  #: The topic.
    partition: int  #: The partition.
    from_offset: int  #: The first lost offset.
    until_offset: int  #: The offset after the last lost one.
    found_at: datetime  #: When the gap was noticed.
    searched: bool  #: True if the outbox was searched for the lost events.
    waiting: int  #: Number of events that were sent again and are not handled yet.


class Search(NamedTuple):
    """A topic whose log is to be searched for a consumer; `cursor` is the last event that was searched."""

    consumer: str
    topic: str
    resend_id: UUID
    found_at: datetime
    cursor: UUID | None


_SEARCHES: Final = """
select distinct on (consumer, topic) consumer, topic, resend_id, max(found_at) over (partition by consumer, topic) as found_at,
  cursor
from lost_ranges r where finished_at is null and searched_at is null
  and not exists (select from lost_ranges e where e.consumer = r.consumer and e.topic = r.topic
                  and e.finished_at is null and e.resent_from is null)
order by consumer, topic, partition
"""


async def searches(connection: AsyncConnection) -> list[Search]:
    """
    Return the searches that are not finished, and may begin.

    Before the ends of the partitions are stored, nothing is sent again: a later loss of the copies would not be noticed.
    """
    async with connection.cursor(row_factory=class_row(Search)) as cursor:
        return await (await cursor.execute(_SEARCHES)).fetchall()


_STORE_ENDS: Final = """
with t as (select * from unnest(%s::text[], %s::int[], %s::bigint[]) as t(topic, partition, until))
update lost_ranges r set resent_from = coalesce((select until from t where t.topic = r.topic and t.partition = r.partition), 0)
where r.topic in (select topic from t) and r.resent_from is null and r.finished_at is null
"""


async def store_ends(connection: AsyncConnection, ends: Mapping[Place, int]) -> None:
    """
    Store the ends of the partitions before anything is sent again: the copies come after them.

    `ends` has all partitions of each of its topics; one that a topic no longer has ends at 0.
    """
    columns = [place.topic for place in ends], [place.partition for place in ends], [*ends.values()]
    await connection.execute(_STORE_ENDS, columns)


# A dead letter has a mark too. The retried record of a dead letter is in an event with another id.
_UNMARKED: Final = f"""
with found as (
  (select o.id, o.aggregate_id from outbox o
   where o.id > %(after)s and o.id < %(before)s and o.topic = %(topic)s and o.type <> '{RAW}'
     and not exists (select from consumed c
       where c.event_id = o.id and c.consumer = %(consumer)s and c.event_id > %(after)s and c.event_id < %(before)s)
   order by o.id limit %(limit)s)
  union all
  (select o.id, o.aggregate_id from outbox o
   where o.id > %(after)s and o.id < %(before)s and o.topic = %(topic)s and o.type = '{RAW}' and o.causation_id is not null
     and not exists (select from consumed c where c.event_id = o.causation_id and c.consumer = %(consumer)s)
   order by o.id limit %(limit)s))
select id, aggregate_id from found order by id limit %(limit)s
"""
# Left out are ignored events, which were never sent, pending events, which are sent anyway, and erased events, which are empty.
_WANTED: Final = f"""
select o.id from outbox o where o.id = any(%(ids)s) and o.id >= %(first)s and o.id <= %(last)s and not {is_marker("o.data")}
  and not exists (select from outbox_pending p where p.event_id = o.id)
  and not exists (select from webhook_deliveries d where d.id = o.id and d.id >= %(first)s and d.id <= %(last)s
                  and d.outcome = 'ignored')
for share of o
"""
_CLAIM: Final = """
insert into lost_events (consumer, event_id, topic) select %s, id, %s from unnest(%s::uuid[]) as t(id)
on conflict do nothing returning event_id
"""
# A report of a further loss resets the cursor, also while a piece is searched: the log must then be searched from its beginning.
_ADVANCE: Final = """
update lost_ranges set cursor = %s, searched_at = case when %s then now() end
where consumer = %s and topic = %s and finished_at is null and searched_at is null and cursor is not distinct from %s
"""


_NEWEST: Final = "select id from outbox where id >= %s order by id desc limit 1"


class Piece(NamedTuple):
    """The ids of the log, `after` < id < `before`, that one transaction searches; the search ends at `until`."""

    after: UUID
    before: UUID
    until: UUID


def next_piece(after: UUID, end: UUID, ahead: UUID, newest: UUID | None) -> Piece:
    """
    Return the piece that follows `after`: up to `end`, the end of the ids when the loss was found, then from `ahead` to `newest`.

    Only a clock that is ahead makes ids from `ahead` on, and such an event may be lost too. What is between came after the loss:
    a search of all that comes in meanwhile would send events again that are on their way, and not end while many of them come.
    """
    until = end if newest is None else UUID(int=newest.int + 1)
    if after >= end:
        after = max(after, ahead)
    return Piece(after, min(first_id_of(time_of(after) + _STEP), end if after < end else until), until)


async def search(connection: AsyncConnection, wanted: Search, limit: int) -> int:
    """
    Search the next piece of the log, send the events without a mark again, in one transaction, and return their number.

    Each carries the id of the resending, like the events of a replay, since other readers of the topic may have read it before.
    """
    async with connection.transaction():
        first = first_id_of(await kept_from(connection))
        end, ahead = [first_id_of(end_of_ids(at)) for at in (wanted.found_at, (await read_clock_async(connection)).now)]
        newest = await (await connection.execute(_NEWEST, (max(end, ahead),))).fetchone()
        after, before, until = next_piece(max(wanted.cursor or first, first), end, ahead, newest[0] if newest else None)
        values = {"after": after, "before": before, "topic": wanted.topic, "consumer": wanted.consumer, "limit": limit}
        rows = await (await connection.execute(_UNMARKED, values)).fetchall()
        sent = await _send(connection, wanted, dict(rows)) if rows else 0
        cursor = rows[-1][0] if len(rows) == limit else before
        await connection.execute(_ADVANCE, (cursor, cursor >= until, wanted.consumer, wanted.topic, wanted.cursor))
        return sent


async def _send(connection: AsyncConnection, wanted: Search, found: Mapping[UUID, str]) -> int:
    values = {"ids": list(found), "first": min(found), "last": max(found)}
    ids = [row[0] for row in await (await connection.execute(_WANTED, values)).fetchall()]
    claimed = await (await connection.execute(_CLAIM, (wanted.consumer, wanted.topic, ids))).fetchall()
    going = sorted(row[0] for row in claimed)
    if going:
        events = [(event_id, shard_of(found[event_id])) for event_id in going]
        await sending.send(connection, events, replay_id=wanted.resend_id)
    return len(going)


_SETTLE: Final = f"""
delete from lost_events l where
  exists (select from consumed c where c.event_id = l.event_id and c.consumer = l.consumer)
  or not exists (select from outbox o where o.id = l.event_id)
  or exists (select from outbox o join consumed c on c.event_id = o.causation_id
             where o.id = l.event_id and o.type = '{RAW}' and c.consumer = l.consumer)
"""
_FINISH: Final = """
update lost_ranges r set finished_at = now() where finished_at is null and searched_at is not null
  and not exists (select from lost_events l where l.consumer = r.consumer and l.topic = r.topic)
returning consumer, topic, partition
"""


async def settle(connection: AsyncConnection) -> list[tuple[str, str, int]]:
    """Delete the events that have their mark now, and finish and return the ranges that have none left."""
    await connection.execute(_SETTLE)
    return await (await connection.execute(_FINISH)).fetchall()


_OPEN: Final = """
select consumer, topic, partition, from_offset, until_offset, found_at, searched_at is not null as searched,
       (select count(*) from lost_events l where l.consumer = r.consumer and l.topic = r.topic) as waiting
from lost_ranges r where finished_at is null order by consumer, topic, partition
"""


async def open_losses(connection: AsyncConnection) -> list[OpenLoss]:
    """Read the ranges that are not completely handled."""
    async with connection.cursor(row_factory=class_row(OpenLoss)) as cursor:
        return await (await cursor.execute(_OPEN)).fetchall()


async def last_topics(connection: AsyncConnection) -> dict[str, TopicState]:
    """Read the ids and ends of the topics at the last check."""
    rows = await (await connection.execute("select topic, topic_id, ends from seen_topics")).fetchall()
    return {topic: TopicState(topic_id, ends) for topic, topic_id, ends in rows}


_STORE_TOPICS: Final = """
insert into seen_topics as s (topic, topic_id, ends) values (%s, %s, %s)
on conflict (topic) do update set topic_id = excluded.topic_id, ends = excluded.ends
where (s.topic_id, s.ends) is distinct from (excluded.topic_id, excluded.ends)
"""


async def store_topics(connection: AsyncConnection, topics: Mapping[str, TopicState]) -> None:
    """Store the ids and ends of the topics at this check."""
    rows: Sequence[tuple[str, str, list[int]]] = [(topic, found.topic_id, [*found.ends]) for topic, found in topics.items()]
    await connection.cursor().executemany(_STORE_TOPICS, rows)
