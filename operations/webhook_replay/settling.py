"""Look up the outcomes of sent items from time to time, until none is open."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection

from operations.webhook_replay.store import OUTSIDE_RETENTION, Verdict, events_of, marked, open_letters, store_verdicts


async def settle(connection: AsyncConnection, replay_id: UUID, after: int, limit: int) -> int:
    """
    Record the outcomes of sent items after number `after`, in the open transaction.

    Returns the number to continue after, or 0 if the last item was reached.
    """
    query = """select n, event_id from webhook_replay_items
               where replay_id = %s and state = 'sent' and n > %s order by n limit %s"""
    sent: list[tuple[int, UUID]] = await (await connection.execute(query, (replay_id, after, limit))).fetchall()
    if sent:
        await store_verdicts(connection, replay_id, await _settled(connection, replay_id, sent))
    return sent[-1][0] if len(sent) == limit else 0


async def finish(connection: AsyncConnection, replay_id: UUID) -> str | None:
    """End a replay without open items, and return its final state."""
    query = """update webhook_replays r set finished_at = now(), state = case when exists (
                 select from webhook_replay_items i where i.replay_id = r.id and i.state = 'failed') then 'failed' else 'done' end
               where id = %s and state = 'running' and not exists (
                 select from webhook_replay_items i where i.replay_id = r.id and i.state in ('waiting', 'sent'))
               returning state"""
    row = await (await connection.execute(query, (replay_id,))).fetchone()
    return row[0] if row else None


async def _settled(connection: AsyncConnection, replay_id: UUID, sent: Sequence[tuple[int, UUID]]) -> list[Verdict]:
    """Return the verdicts on items; dead letters are checked before marks, since a dead letter has a mark too."""
    events = await events_of(connection, [event_id for _, event_id in sent])
    done = await marked(connection, events)
    failures = await _parked(connection, replay_id) | await open_letters(connection, [event_id for _, event_id in sent])
    verdicts = []
    for n, event_id in sent:
        if event_id in failures:
            verdicts.append(Verdict(n, "failed", failures[event_id]))
        elif event_id in done:
            verdicts.append(Verdict(n, "processed"))
        elif event_id not in events:
            verdicts.append(Verdict(n, "failed", OUTSIDE_RETENTION))
    return verdicts


async def _parked(connection: AsyncConnection, replay_id: UUID) -> dict[UUID, str]:
    """Return the reasons of the events that Kafka refuses."""
    query = "select event_id, reason from outbox_pending where replay_id = %s and parked_at is not null"
    return dict(await (await connection.execute(query, (replay_id,))).fetchall())
