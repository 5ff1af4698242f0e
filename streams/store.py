"""The processor's SQL: marks of handled events, and dead letters."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from outbox import tasks
from outbox.alerts import DEAD_LETTERS, count_occurrences
from outbox.append import append, event_of
from outbox.erased import is_marker
from runtime.excerpts import excerpt_of
from runtime.ids import new_id
from runtime.tracing import continue_trace
from schemas.envelope import Event
from schemas.operations import DeadLetterRecorded
from streams.errors import Poison, PoisonReason
from streams.records import Record

DETAIL_LENGTH: Final = 2000
"""The characters of a dead letter's detail at most."""

# In id order, so that two workers with the same events after a rebalance do not end in a deadlock.
_MARK: Final = """
insert into consumed (event_id, consumer) select id, %b from unnest(%b::uuid[]) as t(id) order by id
on conflict do nothing returning event_id
"""
_SET_ASIDE: Final = """
insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", key, value, headers, event_id, trace_id,
                          earlier_id)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict (consumer, topic, partition, "offset") do nothing returning id
"""
# A letter of another record at the same place, which Kafka has lost: the topic was made again, or its log has lost its end.
_GIVE_UP_PLACE: Final = f"""
update dead_letters set "offset" = null where consumer = %s and topic = %s and partition = %s and "offset" = %s
  and (event_id = %s) is not true and {is_marker("value")} is not true
  and not (key is not distinct from %s::bytea and value is not distinct from %s::bytea and headers = %s)
"""
# The last letter that was retried: of the event, or of a record that does not decode and holds the same key, value and headers.
_RETRIED: Final = """
select id from dead_letters where event_id = %s and consumer = %s and status = 'retried' order by id desc limit 1
"""
_RETRIED_UNREAD: Final = """
select id from dead_letters where consumer = %s and topic = %s and status = 'retried' and event_id is null
  and key is not distinct from %s::bytea and value is not distinct from %s::bytea and headers = %s order by id desc limit 1
"""


async def mark(connection: AsyncConnection, consumer: str, ids: Sequence[UUID]) -> set[UUID]:
    """Mark events as handled by the consumer, in the open transaction; returns those that were not marked before."""
    cursor = connection.cursor(binary=True)
    await cursor.execute(_MARK, (consumer, list(ids)), prepare=True)
    return {row[0] for row in await cursor.fetchall()}


async def set_aside(connection: AsyncConnection, consumer: str, record: Record, event: Event | None, poison: Poison) -> bool:
    """
    Record a dead letter and its event, in the open transaction; returns False if the record was dead-lettered before.

    An earlier record at the same place, which Kafka has lost, keeps its letter, without the offset.
    An event that decodes is marked as handled too: no copy of it is handled, unless an operator retries the letter. If it is a
    command, its task has failed. If it was set aside before and retried, the letter names the earlier one.
    """
    trace = continue_trace(event.traceparent if event else None)
    letter = DeadLetterRecorded(
        id=new_id(),
        consumer=consumer,
        reason=poison.reason,
        detail=excerpt_of(poison, DETAIL_LENGTH),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=_text(record.key),
        value=_text(record.value),
        headers=[(_printable(name), _text(value)) for name, value in record.headers],
    )
    headers = Jsonb(letter.headers)
    if event:
        retried = await connection.execute(_RETRIED, (event.id, consumer))
    else:
        retried = await connection.execute(_RETRIED_UNREAD, (consumer, record.topic, record.key, record.value, headers))
    earlier = await retried.fetchone()
    row = (
        letter.id, consumer, letter.reason, letter.detail, record.topic, record.partition, record.offset,
        record.key, record.value, headers, event.id if event else None, trace.trace_id, earlier and earlier[0],
    )  # fmt: skip
    while await (await connection.execute(_SET_ASIDE, row)).fetchone() is None:
        place = (consumer, record.topic, record.partition, record.offset)
        content = (event.id if event else None, record.key, record.value, headers)
        if (await connection.execute(_GIVE_UP_PLACE, (*place, *content))).rowcount == 0:
            return False
    if event and poison.reason != PoisonReason.EVENT_OUTSIDE_RETENTION:
        await mark(connection, consumer, [event.id])
        await tasks.fail(connection, event.id, poison.reason)
    dead_letter = event_of(
        letter,
        aggregate_id=str(letter.id),
        source=f"/workers/{consumer}",
        occurred_at=datetime.now(UTC),
        trace=trace,
        causation_id=event.id if event else None,
    )
    await append(connection, [dead_letter])
    await count_occurrences(connection, DEAD_LETTERS, consumer)
    return True


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _printable(name: str) -> str:
    return name.replace("\x00", "")[:2000]
