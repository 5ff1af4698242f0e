"""The rows of a received webhook, its outcome, and the one statement that writes them."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from outbox.append import shard_of
from schemas.envelope import Event

Outcome = Literal["accepted", "duplicate", "ignored"]
UNHANDLED: Final = "type_not_handled"
"""The reason of an event that is stored and not sent: no worker handles its type."""
OTHER_MODE: Final = "other_mode"
"""The reason of an event that is stored and not sent: it is of the other mode than the wanted one."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """
    One verified webhook.

    `event.id` is also the id of its delivery. `digest` is given if the provider's id is not signed: then the body alone
    identifies the event. `ignored` is the stable reason why no worker handles it: then it is stored, and not sent to Kafka until
    an operator replays it.
    """

    event: Event
    source: str
    provider_event_id: str
    type: str
    secret_id: str | None
    ignored: str | None = None
    digest: bytes | None = None

    @property
    def handled(self) -> bool:
        return self.ignored is None


class Recorded(NamedTuple):
    """The committed outcome of a webhook; the event id of a duplicate is that of the original."""

    outcome: Outcome
    event_id: UUID


# Two copies that meet (in one batch, or in two transactions) leave the later one without a winner in this statement's snapshot.
# It is then written nowhere and answered by two nulls, and goes again: the next snapshot sees the original.
# `order by` in `fresh` makes every transaction take the same keys in the same order, so that two of them do not deadlock;
# `order by n` in `listed` keeps the order of arrival in the ids that the relay follows.
_RECORD: Final = """
with v as materialized (
  select *, case when digest is null then provider_event_id else encode(digest, 'hex') end as dedup_id
  from unnest(%b::uuid[], %b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[],
                       %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[],
                       %b::bytea[], %b::bool[], %b::text[], %b::int2[])
    with ordinality
    as t(id, source, provider_event_id, digest, word, secret_id, ignored, topic, aggregate_type,
         aggregate_id, event_source, type, dataschema, occurred_at, traceparent, data, livemode, account, shard, n)),
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
                      livemode, account)
  select id, topic, aggregate_type, aggregate_id, event_source, type, dataschema, occurred_at, traceparent, data,
         livemode, account
  from answer where event_id = id),
listed as (
  insert into outbox_pending (event_id, shard)
  select id, shard from answer where event_id = id and ignored is null order by n returning id),
noted as (
  insert into webhook_deliveries (id, source, provider_event_id, type, outcome, reason, event_id, trace_id, secret_id,
                                  livemode, account)
  select id, source, provider_event_id, word,
         case when event_id <> id then 'duplicate' when ignored is null then 'accepted' else 'ignored' end,
         case when event_id = id then ignored end,
         event_id, substr(traceparent, 4, 32), secret_id, livemode, account
  from answer where event_id is not null)
select event_id, (select pg_notify('outbox', '') from listed limit 1) from answer order by n
"""


async def record(connection: AsyncConnection, batch: Sequence[Received]) -> list[Recorded | None]:
    """
    Write a batch in one transaction of its own; the connection is in autocommit mode.

    None means a copy whose original is not visible yet: nothing is written for it, and the caller should try it again.
    """
    cursor = connection.cursor(binary=True)
    await cursor.execute(_RECORD, _columns_of(batch), prepare=True)
    rows = await cursor.fetchall()
    return [None if row[0] is None else _outcome(received, row[0]) for received, row in zip(batch, rows, strict=True)]


def _outcome(received: Received, event_id: UUID) -> Recorded:
    if event_id != received.event.id:
        return Recorded("duplicate", event_id)
    return Recorded("accepted" if received.handled else "ignored", event_id)


def _columns_of(batch: Sequence[Received]) -> list[list[object]]:
    events = [received.event for received in batch]
    return [
        [event.id for event in events],
        [received.source for received in batch],
        [received.provider_event_id for received in batch],
        [received.digest for received in batch],
        [received.type for received in batch],
        [received.secret_id for received in batch],
        [received.ignored for received in batch],
        [event.topic for event in events],
        [event.aggregate_type for event in events],
        [event.aggregate_id for event in events],
        [event.source for event in events],
        [event.type for event in events],
        [event.dataschema for event in events],
        [event.occurred_at for event in events],
        [event.traceparent for event in events],
        [event.data for event in events],
        [event.livemode for event in events],
        [event.account for event in events],
        [shard_of(event.aggregate_id) for event in events],
    ]
