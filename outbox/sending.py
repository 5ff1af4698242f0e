"""Sends events of the log that were never sent, or that are sent again, and lets the sweep of the ledger follow them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection

_FOLLOW: Final = """
insert into ledger_findings (event_id, source, endpoint, kind, since)
select id, source, endpoint, 'in_flight', now() from webhook_deliveries
where id = any(%(ids)b::uuid[]) and id >= %(first)b and id <= %(last)b
on conflict (event_id) do update set since = now()
"""
# Two copies may send one event at once: the second waits for the row of the delivery, finds it accepted, and lists nothing.
_SEND: Final = f"""
with accepted as (
  update webhook_deliveries set outcome = 'accepted', reason = null
  where id = any(%(ids)b::uuid[]) and id >= %(first)b and id <= %(last)b and outcome = 'ignored'
    and (%(reason)b::text is null or reason = %(reason)b::text)
  returning id),
followed as ({_FOLLOW}),
listed as (
  insert into outbox_pending (event_id, shard, replay_id)
  select id, shard, %(replay_id)b::uuid from unnest(%(events)b::uuid[], %(shards)b::int2[]) with ordinality as t(id, shard, n)
  where %(replay_id)b::uuid is not null or id in (select id from accepted) order by n
  returning id)
select pg_notify('outbox', '') from listed limit 1
"""


async def send(
    connection: AsyncConnection,
    events: Sequence[tuple[UUID, int]],
    *,
    ignored: Sequence[UUID] = (),
    reason: str | None = None,
    replay_id: UUID | None = None,
) -> None:
    """
    Make the events, each given with its shard, pending for the relay in their order, in the open transaction.

    Those of `ignored` whose delivery is ignored, for this reason or for any, become accepted ones and are followed. Without the
    id of a replay, only events that become accepted here are sent.
    """
    values = {"events": [event_id for event_id, _ in events], "shards": [shard for _, shard in events]}
    await connection.execute(_SEND, {**values, **_span_of(ignored), "reason": reason, "replay_id": replay_id})


async def follow_again(connection: AsyncConnection, event_ids: Sequence[UUID]) -> None:
    """Let the sweep follow webhooks that are sent again: it would not look at ids this old by itself."""
    await connection.execute(_FOLLOW, _span_of(event_ids))


def _span_of(ids: Sequence[UUID]) -> dict[str, object]:
    """Return the ids, and the first and the last of them, which leave out the partitions of other days."""
    return {"ids": list(ids), "first": min(ids, default=None), "last": max(ids, default=None)}
