"""
Appending events: in the caller's transaction, so that an event exists exactly when its cause does, or as received webhooks.

`append` writes events of our own; `record` writes received webhooks, each with its delivery and its outcome, in one statement.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, Literal, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec
from psycopg import AsyncConnection, OperationalError
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.pq import TransactionStatus

from outbox.erased import is_marker
from outbox.partitions import name
from outbox.sending import send
from outbox.shards import SHARDS
from runtime import tracing
from runtime.ids import new_id, time_of
from runtime.tracing import Trace
from schemas.envelope import Event
from schemas.registry import encode, type_of

WAKE_CHANNEL: Final = "outbox"
UNDONE: Final = (DeadlockDetected, SerializationFailure)
"""Errors after which a statement was certainly rolled back; raised by `record`, nothing of its batch is written."""


def shard_of(aggregate_id: str) -> int:
    """Return the shard of a record key: the same in all processes, machines and releases."""
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


# `order by n` keeps the order of the batch in the ids that the relay follows; one NOTIFY per commit, which is only a hint.
APPEND: Final = """
with v as materialized (
  select * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int8[], %b::text[], %b::text[], %b::text[],
                       %b::timestamptz[], %b::text[], %b::uuid[], %b::bytea[], %b::bool[], %b::text[], %b::text[],
                       %b::int2[], %b::uuid[]) with ordinality
    as t(id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
         occurred_at, traceparent, causation_id, data, livemode, account, endpoint, shard, replay_id, n)),
logged as (
  insert into outbox (id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
                      occurred_at, traceparent, causation_id, data, livemode, account, endpoint)
  select id, topic, aggregate_type, aggregate_id, aggregate_version, source, type, dataschema,
         occurred_at, traceparent, causation_id, data, livemode, account, endpoint from v),
listed as (
  insert into outbox_pending (event_id, shard, replay_id) select id, shard, replay_id from v order by n)
select pg_notify('outbox', '')
"""
_APPENDED: Final = [
    attrgetter(name)
    for name in (
        "id", "topic", "aggregate_type", "aggregate_id", "aggregate_version", "source", "type", "dataschema",
        "occurred_at", "traceparent", "causation_id", "data", "livemode", "account", "endpoint",
    )
]  # fmt: skip


async def append(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """
    Append events inside the transaction that is open on the connection; the relay sees them when it commits.

    The caller holds the lock of every aggregate whose order matters, so that ids are taken in the aggregate's order.
    """
    if events:
        await connection.execute(APPEND, columns_of(events), prepare=True)
        tracing.note_written(events)


def columns_of(events: Sequence[Event]) -> list[list[object]]:
    """Return the parameters of APPEND."""
    columns = [list(map(field, events)) for field in _APPENDED]
    return [*columns, [shard_of(event.aggregate_id) for event in events], [event.replay_id for event in events]]


Outcome = Literal["accepted", "duplicate", "ignored"]
UNHANDLED: Final = "type_not_handled"
"""The reason of an event that is stored and not sent: no worker handles its type."""
OTHER_MODE: Final = "other_mode"
"""The reason of an event that is stored and not sent: it is a test event where live ones are wanted, or the reverse."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """
    One verified webhook.

    `event.id` is also the id of its delivery. `digest` is given if the provider's id is not signed: then the body alone
    identifies the event. `endpoint` is the provider's endpoint by which it came, None for the plain path; copies that come by
    several endpoints are one event. `ignored` is the stable reason why no worker handles it: then it is stored, and not sent to
    Kafka until an operator replays it.
    """

    event: Event
    source: str
    provider_event_id: str
    type: str
    secret_id: str | None
    ignored: str | None = None
    digest: bytes | None = None
    endpoint: str | None = None

    @property
    def handled(self) -> bool:
        return self.ignored is None


class Recorded(NamedTuple):
    """The committed outcome of a webhook; the event id of a duplicate is that of the original."""

    outcome: Outcome
    event_id: UUID


# If two copies arrive together (in one batch, or in two transactions), this statement's snapshot has no original for the later
# one. Nothing is written for it and its `event_id` is null, so the caller tries it again: the next snapshot sees the original.
# `order by` in `fresh` makes every transaction take the same keys in the same order, so that two of them do not deadlock;
# `order by n` in `listed` keeps the order of arrival in the ids that the relay follows.
_RECORD: Final = """
with v as materialized (
  select *, case when digest is null then provider_event_id else encode(digest, 'hex') end as dedup_id
  from unnest(%b::uuid[], %b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[],
                       %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[],
                       %b::bytea[], %b::bool[], %b::text[], %b::text[], %b::int2[])
    with ordinality
    as t(id, source, provider_event_id, digest, word, secret_id, ignored, topic, aggregate_type,
         aggregate_id, event_source, type, dataschema, occurred_at, traceparent, data, livemode, account, endpoint, shard, n)),
fresh as (
  insert into dedup (source, provider_event_id, event_id, digest)
  select source, dedup_id, id, digest from v order by source, dedup_id
  on conflict do nothing returning event_id),
answer as materialized (
  select v.*, case when fresh.event_id is not null then v.id else coalesce(
      (select d.event_id from dedup d where d.source = v.source and d.provider_event_id = v.dedup_id),
      (select d.event_id from dedup d where d.source = v.source and d.digest = v.digest)) end as event_id
  from v left join fresh on fresh.event_id = v.id),
logged as (
  insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data,
                      livemode, account, endpoint)
  select id, topic, aggregate_type, aggregate_id, event_source, type, dataschema, occurred_at, traceparent, data,
         livemode, account, endpoint
  from answer where event_id = id),
listed as (
  insert into outbox_pending (event_id, shard)
  select id, shard from answer where event_id = id and ignored is null order by n returning id),
noted as (
  insert into webhook_deliveries (id, source, provider_event_id, type, outcome, reason, event_id, trace_id, secret_id,
                                  livemode, account, endpoint)
  select id, source, provider_event_id, word,
         case when event_id <> id then 'duplicate' when ignored is null then 'accepted' else 'ignored' end,
         case when event_id = id then ignored end,
         event_id, substr(traceparent, 4, 32), secret_id, livemode, account, endpoint
  from answer where event_id is not null)
select event_id, (select pg_notify('outbox', '') from listed limit 1) from answer order by n
"""
_RECORDED: Final = [
    attrgetter(name)
    for name in (
        "event.id", "source", "provider_event_id", "digest", "type", "secret_id", "ignored", "event.topic",
        "event.aggregate_type", "event.aggregate_id", "event.source", "event.type", "event.dataschema",
        "event.occurred_at", "event.traceparent", "event.data", "event.livemode", "event.account", "endpoint",
    )
]  # fmt: skip


async def record(connection: AsyncConnection, batch: Sequence[Received]) -> list[Recorded | None]:
    """
    Write a batch in one transaction of its own; the connection is in autocommit mode.

    None means a copy whose original is not visible yet: nothing is written for it, and the caller should try it again.
    A wanted copy of an event that is stored as `other_mode` sends that event. DeadlockDetected or SerializationFailure means that
    nothing is written.
    """
    cursor = connection.cursor(binary=True)
    await cursor.execute(_RECORD, _columns_of(batch), prepare=True)
    rows = await cursor.fetchall()
    recorded = [None if row[0] is None else _outcome(received, row[0]) for received, row in zip(batch, rows, strict=True)]
    # Only a copy of an event that states its mode can be wanted where the original was not.
    originals = {
        outcome.event_id
        for received, outcome in zip(batch, recorded, strict=True)
        if outcome and outcome.outcome == "duplicate" and received.handled and received.event.livemode is not None
    }
    if originals:
        await _follow(connection, sorted(originals))
    return recorded


async def _follow(connection: AsyncConnection, originals: Sequence[UUID]) -> None:
    """Send the unwanted ones; in autocommit mode the batch is committed by now, and must not seem to be undone."""
    committed = connection.info.transaction_status == TransactionStatus.IDLE
    try:
        await _send_unwanted(connection, originals)
    except UNDONE:
        if not committed:
            raise
        try:
            await _send_unwanted(connection, originals)
        except UNDONE as error:
            raise OperationalError("the batch is committed, but not that its copies send their originals") from error


# The same event may arrive at an endpoint for live events and at one for test events: it is handled whichever is first.
_UNWANTED: Final = """
select id from webhook_deliveries
where id = any(%b::uuid[]) and id >= %b and id <= %b and outcome = 'ignored' and reason = 'other_mode' order by id
"""
# The lock keeps an erasure away until the transaction ends. An event past the retention of its marks is not sent.
_KEPT: Final = f"""
select o.id, o.aggregate_id from outbox o join unnest(%b::uuid[], %b::text[]) as t(id, marks) on t.id = o.id
where o.id >= %b and o.id <= %b and to_regclass(t.marks) is not null and not {is_marker("o.data")} order by o.id for share of o
"""


async def _send_unwanted(connection: AsyncConnection, originals: Sequence[UUID]) -> None:
    """
    Send those of these events, which a wanted copy has followed, that are only stored because of their mode.

    In autocommit mode this is a transaction after that of the copy, whose sender gets its answer after both: if this one fails,
    the sender gets none, and the next copy does it.
    """
    bounds = (originals[0], originals[-1])
    found = await (await connection.execute(_UNWANTED, (list(originals), *bounds), prepare=True)).fetchall()
    if not (unwanted := [row[0] for row in found]):
        return
    marks = [name("consumed", time_of(event_id).date()) for event_id in unwanted]
    async with connection.transaction():
        kept = await (await connection.execute(_KEPT, (unwanted, marks, *bounds))).fetchall()
        going = [(event_id, shard_of(aggregate_id)) for event_id, aggregate_id in kept]
        await send(connection, going, ignored=[event_id for event_id, _ in going], reason=OTHER_MODE)


def _outcome(received: Received, event_id: UUID) -> Recorded:
    if event_id != received.event.id:
        return Recorded("duplicate", event_id)
    return Recorded("accepted" if received.handled else "ignored", event_id)


def _columns_of(batch: Sequence[Received]) -> list[list[object]]:
    columns = [list(map(field, batch)) for field in _RECORDED]
    return [*columns, [shard_of(received.event.aggregate_id) for received in batch]]
