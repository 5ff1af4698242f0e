"""
The work of a replay, behind verbs: each takes a few items and leaves rows and progress in one transaction.

All of it runs on the one connection that holds the lead, so whoever loses that connection has lost the lead with it, and nothing
is sent twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from operations.ledger import books
from operations.webhook_replay.jobs import ItemState
from outbox import received
from outbox.append import WAKE_CHANNEL, shard_of
from outbox.erased import ERASED, is_marker
from outbox.partitions import name
from outbox.received import Received
from runtime.ids import time_of
from schemas.topology import workers

OUTSIDE_RETENTION: Final = "event_outside_retention"

_CONSUMERS: Final[Mapping[str, set[str]]] = {
    topic: {each.name for each in workers() if topic in each.consumes} for worker in workers() for topic in worker.consumes
}


class Job(NamedTuple):
    """A replay that is to be worked on."""

    id: UUID
    rate: float


class Task(NamedTuple):
    """One delivery that waits; `event_id` is None where it was rejected, `livemode` where the event does not state it."""

    n: int
    delivery_id: UUID
    source: str
    type: str | None
    outcome: str
    event_id: UUID | None
    livemode: bool | None


class Refused(NamedTuple):
    """A rejected delivery as it was kept; `recovered_as` where it was verified again before."""

    id: UUID
    source: str
    reason: str
    trace_id: str
    headers: Mapping[str, str]
    body: bytes | None
    recovered_as: UUID | None


class Verdict(NamedTuple):
    """What becomes of an item."""

    n: int
    state: ItemState
    reason: str | None = None
    event_id: UUID | None = None
    enqueued: bool = False


class Recovery(NamedTuple):
    """A rejected delivery that verifies now, as what it is received."""

    n: int
    delivery_id: UUID
    received: Received
    headers: Mapping[str, str]


class _Event(NamedTuple):
    topic: str
    aggregate_id: str
    erased: bool


async def running(connection: AsyncConnection) -> list[Job]:
    """The replays that have not ended, oldest first."""
    async with connection.cursor(row_factory=class_row(Job)) as cursor:
        return await (await cursor.execute("select id, rate from webhook_replays where state = 'running' order by id")).fetchall()


async def hold(connection: AsyncConnection, replay_id: UUID) -> bool:
    """Keep it from being cancelled until the transaction ends; False where it has ended."""
    query = "select id from webhook_replays where id = %s and state = 'running' for update"
    return await (await connection.execute(query, (replay_id,))).fetchone() is not None


BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of kept bodies that are looked at together; a larger one alone."""


async def waiting(connection: AsyncConnection, replay_id: UUID, limit: int) -> list[Task]:
    """The next items, in their order; no more than `BATCH_BYTES` of bodies belong to them, unless it is one."""
    query = """with i as (
                 select n, delivery_id, source, type, outcome, event_id from webhook_replay_items
                 where replay_id = %s and state = 'waiting' order by n limit %s),
               s as (
                 select i.*, d.livemode, sum(coalesce(octet_length(d.body), 0)) over (order by i.n) as total
                 from i left join webhook_deliveries d on d.id = i.delivery_id)
               select n, delivery_id, source, type, outcome, event_id, livemode from s
               where total <= %s or n = (select min(n) from i) order by n"""
    async with connection.cursor(row_factory=class_row(Task)) as cursor:
        return await (await cursor.execute(query, (replay_id, limit, BATCH_BYTES))).fetchall()


async def portions(connection: AsyncConnection, ids: Sequence[UUID], limit: int) -> list[list[UUID]]:
    """The rejected deliveries in their order, as many together as `refused` should be asked for: the limit, and `BATCH_BYTES`."""
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


async def refused(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Refused]:
    """Rejected deliveries with what was kept of them; one whose day is past retention is not there."""
    query = """select id, source, reason, trace_id, coalesce(headers, '{}') as headers, body, recovered_as from webhook_deliveries
               where id = any(%s) and id >= %s and id <= %s and outcome = 'rejected'"""
    if not ids:
        return {}
    async with connection.cursor(row_factory=class_row(Refused)) as cursor:
        await cursor.execute(query, (list(ids), min(ids), max(ids)))
        return {found.id: found for found in await cursor.fetchall()}


async def send(connection: AsyncConnection, replay_id: UUID, tasks: Sequence[Task]) -> list[Verdict]:
    """Put the events on the relay's list again, in the open transaction: unchanged where their effects are there already."""
    wanted = [(task, task.event_id) for task in tasks if task.event_id is not None]
    found = await _events(connection, [event_id for _, event_id in wanted], lock=True)
    events = {event_id: event for event_id, event in found.items() if not event.erased}
    done = await _marked(connection, events)
    going = [(event_id, shard_of(events[event_id].aggregate_id)) for _, event_id in wanted if event_id in events]
    await _enqueue(connection, replay_id, going)
    # What was stored without a handler goes its way from now on.
    stored = [(event_id,) for task, event_id in wanted if task.outcome != "accepted" and event_id in events]
    await connection.cursor().executemany(
        "update webhook_deliveries set outcome = 'accepted', reason = null where id = %s and outcome = 'ignored'", stored
    )
    await books.expect(connection, [event_id for (event_id,) in stored])
    return [
        Verdict(task.n, "unchanged" if event_id in done else "sent", None, event_id, enqueued=True)
        if event_id in events
        else Verdict(task.n, "failed", ERASED if event_id in found else OUTSIDE_RETENTION)
        for task, event_id in wanted
    ]


async def recover(connection: AsyncConnection, replay_id: UUID, recoveries: Sequence[Recovery]) -> list[Verdict]:
    """
    Record what verifies now as intake does, in the open transaction, and say in the rejected row what it became.

    A copy whose original is not to be seen yet gets no verdict, and goes again.
    """
    if not recoveries:
        return []
    cursor = await connection.execute("select last_value from outbox_pending_id_seq")
    first = (await cursor.fetchone() or (0,))[0]
    recorded = await received.record(connection, [each.received for each in recoveries])
    pairs = [(each, outcome) for each, outcome in zip(recoveries, recorded, strict=True) if outcome is not None]
    # Only rows of this transaction have these events, and their ids are not below `first`: the index on ids finds them.
    await connection.execute(
        "update outbox_pending set replay_id = %s where id >= %s and event_id = any(%s)",
        (replay_id, first, [each.received.event.id for each, _ in pairs]),
    )
    await connection.cursor().executemany(
        "update webhook_deliveries set recovered_as = %s, event_id = %s where id = %s and outcome = 'rejected'",
        [(each.received.event.id, outcome.event_id, each.delivery_id) for each, outcome in pairs],
    )
    verdicts: dict[str, tuple[ItemState, bool]] = {
        "accepted": ("sent", True),
        "duplicate": ("unchanged", False),
        "ignored": ("processed", False),
    }
    return [
        Verdict(each.n, state, each.received.ignored if outcome.outcome == "ignored" else None, outcome.event_id, enqueued)
        for each, outcome in pairs
        for state, enqueued in [verdicts[outcome.outcome]]
    ]


async def note(connection: AsyncConnection, replay_id: UUID, verdicts: Sequence[Verdict]) -> None:
    """Write down what became of items, in the open transaction."""
    columns = [[getattr(verdict, field) for verdict in verdicts] for field in Verdict._fields]
    await connection.execute(
        """update webhook_replay_items i set state = v.state, reason = v.reason, event_id = coalesce(v.event_id, i.event_id),
             enqueued_at = case when v.enqueued then now() else i.enqueued_at end
           from unnest(%s::int4[], %s::text[], %s::text[], %s::uuid[], %s::bool[]) as v(n, state, reason, event_id, enqueued)
           where i.replay_id = %s and i.n = v.n and i.state in ('waiting', 'sent')""",
        (*columns, replay_id),
    )


async def settle(connection: AsyncConnection, replay_id: UUID, after: int, limit: int) -> int:
    """
    See what became of items that were sent, those after number `after`, in the open transaction.

    Returns the number to go on after; 0 where the last one was reached.
    """
    query = """select n, event_id from webhook_replay_items
               where replay_id = %s and state = 'sent' and n > %s order by n limit %s"""
    sent: list[tuple[int, UUID]] = await (await connection.execute(query, (replay_id, after, limit))).fetchall()
    if sent:
        await note(connection, replay_id, await _settled(connection, replay_id, sent))
    return sent[-1][0] if len(sent) == limit else 0


async def finish(connection: AsyncConnection, replay_id: UUID) -> str | None:
    """End a replay of which nothing is open any more; its state then."""
    query = """update webhook_replays r set finished_at = now(), state = case when exists (
                 select from webhook_replay_items i where i.replay_id = r.id and i.state = 'failed') then 'failed' else 'done' end
               where id = %s and state = 'running' and not exists (
                 select from webhook_replay_items i where i.replay_id = r.id and i.state in ('waiting', 'sent'))
               returning state"""
    row = await (await connection.execute(query, (replay_id,))).fetchone()
    return row[0] if row else None


async def give_up(connection: AsyncConnection, replay_id: UUID, failure: str) -> None:
    """End a replay that our own code cannot go on with."""
    query = "update webhook_replays set state = 'failed', failure = %s, finished_at = now() where id = %s and state = 'running'"
    await connection.execute(query, (failure, replay_id))


async def _settled(connection: AsyncConnection, replay_id: UUID, sent: Sequence[tuple[int, UUID]]) -> list[Verdict]:
    """What is set aside is marked too, so a dead letter comes before the mark."""
    events = await _events(connection, [event_id for _, event_id in sent])
    done = await _marked(connection, events)
    aside = await _set_aside(connection, replay_id, [event_id for _, event_id in sent])
    verdicts = []
    for n, event_id in sent:
        if event_id in aside:
            verdicts.append(Verdict(n, "failed", aside[event_id]))
        elif event_id in done:
            verdicts.append(Verdict(n, "processed"))
        elif event_id not in events:
            verdicts.append(Verdict(n, "failed", OUTSIDE_RETENTION))
    return verdicts


async def _events(connection: AsyncConnection, ids: Sequence[UUID], *, lock: bool = False) -> dict[UUID, _Event]:
    """
    Those of the events whose log and marks are both kept; a lock waits for an erasure of them, and holds the next one off.

    A day's marks may go a little before its events: nobody could tell then whether an event of it was handled.
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


async def _marked(connection: AsyncConnection, events: Mapping[UUID, _Event]) -> set[UUID]:
    """Those that every consumer of their topic has handled."""
    if not events:
        return set()
    query = """select event_id, array_agg(consumer) from consumed
               where event_id = any(%s) and event_id >= %s and event_id <= %s group by 1"""
    cursor = await connection.execute(query, ([*events], min(events), max(events)))
    marks = {row[0]: set(row[1]) for row in await cursor.fetchall()}
    return {event_id for event_id, event in events.items() if marks.get(event_id, set()) >= _CONSUMERS.get(event.topic, set())}


async def _set_aside(connection: AsyncConnection, replay_id: UUID, ids: Iterable[UUID]) -> dict[UUID, str]:
    """Why an event of the replay went no further: a dead letter since then, or Kafka refuses it."""
    query = """select event_id, reason from outbox_pending where replay_id = %(id)s and parked_at is not null
               union all
               select event_id, reason from dead_letters where event_id = any(%(ids)s) and status = 'open'
                 and created_at >= (select created_at from webhook_replays where id = %(id)s)"""
    cursor = await connection.execute(query, {"id": replay_id, "ids": list(ids)})
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def _enqueue(connection: AsyncConnection, replay_id: UUID, going: Sequence[tuple[UUID, int]]) -> None:
    if going:
        await connection.execute(
            """insert into outbox_pending (event_id, shard, replay_id)
               select id, shard, %s from unnest(%s::uuid[], %s::int2[]) with ordinality as t(id, shard, n) order by n""",
            (replay_id, [event_id for event_id, _ in going], [shard for _, shard in going]),
        )
        await connection.execute("select pg_notify(%s, '')", (WAKE_CHANNEL,))
