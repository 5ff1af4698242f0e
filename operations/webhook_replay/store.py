"""
The steps of a replay: each handles a few items, and commits rows and progress in one transaction.

All steps run on the connection that holds the leader's lock. A gateway that loses the connection has lost the lead too, so no
item is sent twice.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from operations.webhook_replay.jobs import ItemState
from outbox import append, sending
from outbox.append import Received, shard_of
from outbox.erased import ERASED, is_marker
from outbox.partitions import name
from runtime.ids import time_of
from schemas.endpoints import place_of
from schemas.topology import workers

OUTSIDE_RETENTION: Final = "event_outside_retention"

_CONSUMERS: Final[Mapping[str, set[str]]] = {
    topic: {each.name for each in workers() if topic in each.consumes} for worker in workers() for topic in worker.consumes
}


class Job(NamedTuple):
    """A replay that has not ended."""

    id: UUID
    rate: float


class StoredDelivery(NamedTuple):
    """
    A delivery as stored in the log; `n` is its number in the replay. A delivery past retention has no `trace_id`.

    `event_id` is None if it was rejected, unless a replay has recovered it as the delivery `recovered_as`.
    """

    id: UUID
    source: str
    reason: str = ""
    trace_id: str = ""
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    recovered_as: UUID | None = None
    outcome: str = "rejected"
    type: str | None = None
    event_id: UUID | None = None
    livemode: bool | None = None
    endpoint: str | None = None
    n: int = 0

    @property
    def place(self) -> str:
        """The source's plain path, or its endpoint at which the delivery arrived."""
        return place_of(self.source, self.endpoint)


Recovery = tuple[StoredDelivery, Received]
"""A rejected delivery that verifies now, and the record to store for it."""


class Verdict(NamedTuple):
    """The outcome of an item."""

    n: int
    state: ItemState
    reason: str | None = None
    event_id: UUID | None = None
    enqueued: bool = False


class _Event(NamedTuple):
    topic: str
    aggregate_id: str
    erased: bool


async def running(connection: AsyncConnection) -> list[Job]:
    """Return the replays that have not ended, oldest first."""
    async with connection.cursor(row_factory=class_row(Job)) as cursor:
        return await (await cursor.execute("select id, rate from webhook_replays where state = 'running' order by id")).fetchall()


async def lock_running(connection: AsyncConnection, replay_id: UUID) -> bool:
    """Lock the replay so that it cannot be cancelled before the transaction ends. Returns false if it has ended."""
    query = "select id from webhook_replays where id = %s and state = 'running' for update"
    return await (await connection.execute(query, (replay_id,))).fetchone() is not None


BATCH_BYTES: Final = 4 * 1024 * 1024
"""The maximum size of stored bodies that are verified together; a larger body is verified alone."""


_KEPT: Final = """coalesce(d.reason, '') as reason, coalesce(d.trace_id, '') as trace_id, coalesce(d.headers, '{}') as headers,
  d.body, d.recovered_as, d.livemode, d.endpoint"""


async def waiting(connection: AsyncConnection, replay_id: UUID, limit: int) -> list[StoredDelivery]:
    """Return the next items in their order; their bodies have at most `BATCH_BYTES`, unless there is only one."""
    query = f"""with i as (
                  select n, delivery_id, source, type, outcome, event_id from webhook_replay_items
                  where replay_id = %s and state = 'waiting' order by n limit %s),
                s as (
                  select i.*, {_KEPT}, sum(coalesce(octet_length(d.body), 0)) over (order by i.n) as total
                  from i left join webhook_deliveries d on d.id = i.delivery_id)
                select n, delivery_id as id, source, type, outcome, event_id, reason, trace_id, headers, body, recovered_as,
                  livemode, endpoint from s where total <= %s or n = (select min(n) from i) order by n"""
    async with connection.cursor(row_factory=class_row(StoredDelivery)) as cursor:
        return await (await cursor.execute(query, (replay_id, limit, BATCH_BYTES))).fetchall()


async def portions(connection: AsyncConnection, ids: Sequence[UUID], limit: int) -> list[list[UUID]]:
    """Split the rejected deliveries, in their order, into calls of `refused`: each has at most `limit` ids and `BATCH_BYTES`."""
    query = """select id, octet_length(body) from webhook_deliveries
               where id = any(%s) and id >= %s and id <= %s and body is not null"""
    sizes: dict[UUID, int] = {}
    if ids:
        sizes = dict(await (await connection.execute(query, (list(ids), min(ids), max(ids)))).fetchall())
    found: list[list[UUID]] = []
    room = 0
    for each in ids:
        size = sizes.get(each, 0)
        if not found or len(found[-1]) == limit or size > room:
            found.append([])
            room = BATCH_BYTES
        found[-1].append(each)
        room -= size
    return found


async def refused(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, StoredDelivery]:
    """Return the deliveries that were rejected, without those whose day is past retention."""
    query = f"""select d.id, d.source, {_KEPT} from webhook_deliveries d
                where id = any(%s) and id >= %s and id <= %s and outcome = 'rejected'"""
    if not ids:
        return {}
    async with connection.cursor(row_factory=class_row(StoredDelivery)) as cursor:
        await cursor.execute(query, (list(ids), min(ids), max(ids)))
        return {found.id: found for found in await cursor.fetchall()}


async def send(connection: AsyncConnection, replay_id: UUID, deliveries: Sequence[StoredDelivery]) -> list[Verdict]:
    """
    Make the events pending for the relay again, in the open transaction.

    Those that have had their effects are `unchanged`. Those with an open dead letter have failed: its worker skips them.
    """
    wanted = [(each, each.event_id) for each in deliveries if each.event_id is not None]
    found = await events_of(connection, [event_id for _, event_id in wanted], lock=True)
    events = {event_id: event for event_id, event in found.items() if not event.erased}
    done = await marked(connection, events)
    letters = await open_letters(connection, [*events])
    going = [(event_id, shard_of(events[event_id].aggregate_id)) for _, event_id in wanted if event_id in events]
    # Ignored deliveries of a type that has a handler now become accepted ones.
    ignored = [event_id for each, event_id in wanted if each.outcome != "accepted" and event_id in events]
    await sending.send(connection, going, ignored=ignored, replay_id=replay_id)
    return [
        Verdict(each.n, "failed", ERASED if event_id in found else OUTSIDE_RETENTION)
        if event_id not in events
        else Verdict(each.n, "failed", letters[event_id], event_id, enqueued=True)
        if event_id in letters
        else Verdict(each.n, "unchanged" if event_id in done else "sent", None, event_id, enqueued=True)
        for each, event_id in wanted
    ]


async def recover(connection: AsyncConnection, replay_id: UUID, recoveries: Sequence[Recovery]) -> list[Verdict]:
    """
    Record deliveries that verify now as intake does, in the open transaction, and link each rejected row to its new delivery.

    A wanted copy of an event that was stored as one of the other mode sends that event.
    A duplicate whose original is not visible yet gets no verdict, and is tried again.
    """
    if not recoveries:
        return []
    cursor = await connection.execute("select last_value + is_called::int from outbox_pending_id_seq")
    first = (await cursor.fetchone() or (0,))[0]
    recorded = await append.record(connection, [received_as for _, received_as in recoveries])
    known = [(*each, outcome) for each, outcome in zip(recoveries, recorded, strict=True) if outcome is not None]
    # Ids of rows of this transaction are not below `first`: the index on ids finds them. An original that intake stores at this
    # moment may be found too: it is on its way as well.
    cursor = await connection.execute(
        "update outbox_pending set replay_id = %s where id >= %s and event_id = any(%s) returning event_id",
        (replay_id, first, [outcome.event_id for _, _, outcome in known]),
    )
    sent = {row[0] for row in await cursor.fetchall()}
    await connection.cursor().executemany(
        "update webhook_deliveries set recovered_as = %s, event_id = %s where id = %s and outcome = 'rejected'",
        [(received_as.event.id, outcome.event_id, each.id) for each, received_as, outcome in known],
    )
    return [
        Verdict(each.n, "sent", None, outcome.event_id, enqueued=True)
        if outcome.event_id in sent
        else Verdict(each.n, "processed", received_as.ignored, outcome.event_id)
        if outcome.outcome == "ignored"
        else Verdict(each.n, "unchanged", None, outcome.event_id)
        for each, received_as, outcome in known
    ]


async def store_verdicts(connection: AsyncConnection, replay_id: UUID, verdicts: Sequence[Verdict]) -> None:
    """Store the verdicts on items, in the open transaction."""
    columns = [[getattr(verdict, field) for verdict in verdicts] for field in Verdict._fields]
    await connection.execute(
        """update webhook_replay_items i set state = v.state, reason = v.reason, event_id = coalesce(v.event_id, i.event_id),
             enqueued_at = case when v.enqueued then now() else i.enqueued_at end
           from unnest(%s::int4[], %s::text[], %s::text[], %s::uuid[], %s::bool[]) as v(n, state, reason, event_id, enqueued)
           where i.replay_id = %s and i.n = v.n and i.state in ('waiting', 'sent')""",
        (*columns, replay_id),
    )


async def give_up(connection: AsyncConnection, replay_id: UUID, failure: str) -> None:
    """End a replay after an error in our own code."""
    query = "update webhook_replays set state = 'failed', failure = %s, finished_at = now() where id = %s and state = 'running'"
    await connection.execute(query, (failure, replay_id))


async def events_of(connection: AsyncConnection, ids: Sequence[UUID], *, lock: bool = False) -> dict[UUID, _Event]:
    """
    Return the events whose log and marks are both kept; with `lock`, erasures of them are excluded until the transaction ends.

    The marks of a day may be deleted shortly before its events: then it is unknown whether an event was handled.
    """
    if not ids:
        return {}
    days = {time_of(event_id).date() for event_id in ids}
    query = "select d from unnest(%s::date[], %s::text[]) as t(d, name) where to_regclass(name) is not null"
    cursor = await connection.execute(query, ([*days], [name("consumed", day) for day in days]))
    kept = {row[0] for row in await cursor.fetchall()}
    wanted = [event_id for event_id in ids if time_of(event_id).date() in kept]
    query = f"""select id, topic, aggregate_id, {is_marker("data")} from outbox
                where id = any(%s) and id >= %s and id <= %s order by id {"for share" if lock else ""}"""
    cursor = await connection.execute(query, (wanted, min(ids), max(ids)))
    return {row[0]: _Event(*row[1:]) for row in await cursor.fetchall()}


async def marked(connection: AsyncConnection, events: Mapping[UUID, _Event]) -> set[UUID]:
    """Return the events that every consumer of their topic has handled."""
    if not events:
        return set()
    query = """select event_id, array_agg(consumer) from consumed
               where event_id = any(%s) and event_id >= %s and event_id <= %s group by 1"""
    cursor = await connection.execute(query, ([*events], min(events), max(events)))
    marks = {row[0]: set(row[1]) for row in await cursor.fetchall()}
    return {event_id for event_id, event in events.items() if marks.get(event_id, set()) >= _CONSUMERS.get(event.topic, set())}


async def open_letters(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the reasons of the events that are open dead letters; they are marked as handled too."""
    query = "select event_id, reason from dead_letters where event_id = any(%s) and status = 'open'"
    return dict(await (await connection.execute(query, (list(ids),))).fetchall()) if ids else {}
