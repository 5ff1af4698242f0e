"""All SQL of the objects to fetch from Stripe's API."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from outbox.append import Received, record
from schemas.envelope import Event, to_headers
from schemas.topics import webhooks_of
from streams.due import RECALLED_MAX
from streams.errors import FetchReason, Poison, Transient, TransientReason
from streams.records import Record
from streams.store import set_aside

Why = Literal["thin", "order"]
Outcome = Literal["fetched", "gone", "empty", "given_up"]

ORIGIN: Final = "X-Tallyhook-Origin"
CAUSE: Final = "X-Tallyhook-Cause"
"""Both are headers of a delivery that is an answer: how it came, and the event that caused the fetch."""


class Wanted(NamedTuple):
    """
    An object to fetch, and the event that is the cause.

    `after` is the second, by Stripe's clock, that the answer must be past. `attempts` counts the calls so far, including the one
    for which a worker has claimed it.
    """

    event_id: UUID
    kind: str
    object_id: str
    why: Why
    cause: str
    after: int
    context: str | None
    account: str | None
    livemode: bool | None
    traceparent: str
    attempts: int = 0


# The object of a thin event that was given up and is sent again by an operator is fetched again; any other repetition changes
# nothing. An event that seems to come from far ahead is tried within the hour: if our clock is behind, the answer is later than
# the event; if the time of the event is wrong, the attempts end.
_WANT: Final = """
insert into stripe_fetches as f (event_id, kind, object_id, why, cause, after, context, account, livemode, traceparent,
                                 next_attempt_at)
select *, least(greatest(now(), to_timestamp(least(after, 253370764000) + 2)), now() + interval '1 hour') from unnest(
  %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int8[], %s::text[], %s::text[], %s::bool[], %s::text[])
  as v(event_id, kind, object_id, why, cause, after, context, account, livemode, traceparent)
order by event_id, kind, object_id
on conflict (event_id, kind, object_id) do update
set next_attempt_at = excluded.next_attempt_at, outcome = null, reason = null, attempts = 0 where f.outcome = 'given_up'
"""
# Attempts are counted before they are made, so that one which kills its worker counts too.
_CLAIM: Final = """
with due as materialized (
  select event_id, kind, object_id from stripe_fetches where next_attempt_at <= now()
  order by next_attempt_at limit %s for update skip locked)
update stripe_fetches f set attempts = attempts + 1, next_attempt_at = now() + %s
from due where (f.event_id, f.kind, f.object_id) = (due.event_id, due.kind, due.object_id)
returning f.event_id, f.kind, f.object_id, f.why, f.cause, f.after, f.context, f.account, f.livemode, f.traceparent, f.attempts
"""
# A worker whose claim ran out has lost the row: another one has counted an attempt since then.
_OURS: Final = "event_id = %s and kind = %s and object_id = %s and attempts = %s and outcome is null"
_SETTLE: Final = f"update stripe_fetches set next_attempt_at = null, outcome = %s, reason = %s where {_OURS}"
_POSTPONE: Final = f"update stripe_fetches set next_attempt_at = now() + %s, reason = %s, attempts = %s where {_OURS}"
_GONE: Final = """
update webhook_deliveries set outcome = 'ignored', reason = %s where id = %s and outcome = 'accepted'
"""
_NOTE: Final = "update webhook_deliveries set headers = %s where id = %s and headers is null"
_EVENT: Final = """
select id, topic, aggregate_id, source, type, dataschema, occurred_at, traceparent, data, causation_id,
       livemode, account, endpoint
from outbox where id = %s
"""
_BY_ENDPOINT: Final = "select exists (select from outbox where id = any(%s) and endpoint is not null)"
_BACKLOG: Final = """
select count(*), coalesce(extract(epoch from now() - min(next_attempt_at)), 0)::float8
from stripe_fetches where next_attempt_at <= now()
"""
_RECALL: Final = f"""
update stripe_fetches set next_attempt_at = now() + %s where ctid = any(array(
  select ctid from stripe_fetches where next_attempt_at > now() + %s limit {RECALLED_MAX} for update skip locked))
"""
_FORGET: Final = """
delete from stripe_fetches where ctid = any(array(
  select ctid from stripe_fetches where event_id < %s and outcome is not null limit 1000))
"""


async def want(connection: AsyncConnection, wanted: Sequence[Wanted]) -> None:
    """Record objects to fetch, one at least, in the open transaction; due once the second `after` is over, or in an hour."""
    columns = [list(column) for column in zip(*(each[:-1] for each in wanted), strict=True)]  # all but the attempts
    await connection.execute(_WANT, columns)


async def claim(connection: AsyncConnection, limit: int, lease: timedelta) -> list[Wanted]:
    """Claim due objects, oldest first, for the time of the lease, on a connection in autocommit mode; other workers skip them."""
    async with connection.cursor(row_factory=class_row(Wanted)) as cursor:
        await cursor.execute(_CLAIM, (limit, lease))
        return await cursor.fetchall()


async def record_answer(connection: AsyncConnection, group: Sequence[Wanted], received: Received, cause: UUID) -> bool:
    """
    Record the answer as intake does, and settle all claims that it answers, in one transaction; False if every claim was lost.

    Raises Transient if another worker is writing a copy of the answer at this moment.
    """
    async with connection.transaction():
        if not any([await _settle(connection, claimed, "fetched", None) for claimed in group]):
            return False
        [recorded] = await record(connection, [received])
        if recorded is None:
            raise Transient(TransientReason.ANSWER_UNDECIDED, "a copy of the answer is being written, and cannot be seen yet")
        await connection.execute(_NOTE, (Jsonb({ORIGIN: "fetch", CAUSE: str(cause)}), received.event.id))
        return True


async def settle(connection: AsyncConnection, claimed: Wanted, outcome: Outcome, reason: str) -> bool:
    """Settle a claim that needs no event; the delivery of a thin event gets the reason. False if the claim was lost."""
    async with connection.transaction():
        if not await _settle(connection, claimed, outcome, reason):
            return False
        if claimed.why == "thin":
            await connection.execute(_GONE, (reason, claimed.event_id))
        return True


async def give_up(connection: AsyncConnection, claimed: Wanted, consumer: str, reason: FetchReason, detail: str) -> bool:
    """
    Make no more attempts. A thin event becomes a dead letter, which an operator can retry; an undecided order stays as it is.

    Returns False if the claim was lost.
    """
    async with connection.transaction():
        if not await _settle(connection, claimed, "given_up", reason):
            return False
        event = await (await connection.cursor(row_factory=class_row(Event)).execute(_EVENT, (claimed.event_id,))).fetchone()
        if claimed.why == "thin" and event is not None:
            headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in to_headers(event)]
            # Its record was read long ago, so the dead letter has no offset on Kafka: each gets a number that no record has.
            place = Record(webhooks_of("stripe"), -1, await _number(connection), event.aggregate_id.encode(), event.data, headers)
            await set_aside(connection, consumer, place, event, Poison(reason, detail, event.id))
        return True


async def came_by_endpoint(connection: AsyncConnection, group: Sequence[Wanted]) -> bool:
    """Return true if any of the events came by an endpoint, which may be of another account than the key."""
    row = await (await connection.execute(_BY_ENDPOINT, ([claimed.event_id for claimed in group],))).fetchone()
    return row is not None and bool(row[0])


async def postpone(connection: AsyncConnection, claimed: Wanted, pause: timedelta, reason: str, *, counts: bool = True) -> None:
    """Make the object due again after the pause."""
    attempts = claimed.attempts if counts else claimed.attempts - 1
    await connection.execute(_POSTPONE, (pause, reason, attempts, *_key(claimed)))


async def backlog(connection: AsyncConnection) -> tuple[int, float]:
    """Return the number of due objects, and the seconds for which the oldest of them has been due."""
    row = await (await connection.execute(_BACKLOG)).fetchone()
    return (row[0], row[1]) if row else (0, 0.0)


async def recall(connection: AsyncConnection, after: timedelta, within: timedelta) -> None:
    """Make objects due `within` this time that would be due later than `after`, which is longer than any pause."""
    await connection.execute(_RECALL, (within, after))


async def forget(connection: AsyncConnection, before: UUID) -> int:
    """Delete settled claims whose event cannot be replayed any more, at most 1000, and return their number."""
    return (await connection.execute(_FORGET, (before,))).rowcount


async def _settle(connection: AsyncConnection, claimed: Wanted, outcome: Outcome, reason: str | None) -> bool:
    return (await connection.execute(_SETTLE, (outcome, reason, *_key(claimed)))).rowcount == 1


def _key(claimed: Wanted) -> tuple[Any, ...]:
    return claimed.event_id, claimed.kind, claimed.object_id, claimed.attempts


async def _number(connection: AsyncConnection) -> int:
    row = await (await connection.execute("select (extract(epoch from clock_timestamp()) * 1000000)::int8")).fetchone()
    assert row is not None  # noqa: S101  # narrows the type
    number: int = row[0]
    return number
