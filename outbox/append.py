"""Appending events in the caller's transaction, so that an event exists exactly when its cause does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID
from zlib import crc32

import msgspec
from psycopg import AsyncConnection

from outbox.shards import SHARDS
from runtime import spans
from runtime.ids import new_id
from runtime.tracing import Trace
from schemas.envelope import Event
from schemas.registry import encode, type_of

WAKE_CHANNEL: Final = "outbox"


def shard_of(aggregate_id: str) -> int:
    """The shard of a record key: stable over processes, machines and releases."""
    return crc32(aggregate_id.encode()) % SHARDS


def event_of(
    record: msgspec.Struct,
    *,
    aggregate_id: str,
    source: str,
    occurred_at: datetime,
    trace: Trace,
    version: int | None = None,
    causation_id: UUID | None = None,
    livemode: bool | None = None,
    account: str | None = None,
) -> Event:
    """Return the event that states the record: its registered type decides topic and schema."""
    kind = type_of(record)
    return Event(
        id=new_id(),
        topic=kind.topic,
        aggregate_type=kind.aggregate,
        aggregate_id=aggregate_id,
        aggregate_version=version,
        source=source,
        type=kind.name,
        dataschema=kind.dataschema,
        occurred_at=occurred_at,
        traceparent=trace.child().traceparent,
        causation_id=causation_id,
        data=encode(record),
        livemode=livemode,
        account=account,
    )


# `order by n` keeps the order of the batch in the ids that the relay follows; one NOTIFY a commit, and only as a hint.
APPEND: Final = """
with v as materialized (
  select * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int8[], %b::text[], %b::text[], %b::text[],
                       %b::timestamptz[], %b::text[], %b::uuid[], %b::bytea[], %b::bool[], %b::text[],
                       %b::int2[], %b::uuid[]) with ordinality
    as t(id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
         occurred_at, traceparent, causation_id, data, livemode, account, shard, replay_id, n)),
logged as (
  insert into outbox (id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
                      occurred_at, traceparent, causation_id, data, livemode, account)
  select id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
         occurred_at, traceparent, causation_id, data, livemode, account from v),
listed as (
  insert into outbox_pending (event_id, shard, replay_id) select id, shard, replay_id from v order by n)
select pg_notify('outbox', '')
"""


async def append(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """
    Append events inside the transaction that is open on the connection; the relay sees them when it commits.

    The caller holds the lock of every aggregate whose order matters, so that ids are taken in the aggregate's order.
    """
    if events:
        await connection.execute(APPEND, columns_of(events), prepare=True)
        spans.note_written(events)


def columns_of(events: Sequence[Event]) -> list[list[object]]:
    """The parameters of APPEND."""
    return [
        [e.id for e in events],
        [e.topic for e in events],
        [e.aggregate_type for e in events],
        [e.aggregate_id for e in events],
        [e.aggregate_version for e in events],
        [e.source for e in events],
        [e.type for e in events],
        [e.dataschema for e in events],
        [e.occurred_at for e in events],
        [e.traceparent for e in events],
        [e.causation_id for e in events],
        [e.data for e in events],
        [e.livemode for e in events],
        [e.account for e in events],
        [shard_of(e.aggregate_id) for e in events],
        [e.replay_id for e in events],
    ]
