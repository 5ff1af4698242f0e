"""SQL of deliveries: claims leads that are due, and stores the end of each attempt with the next state of its lead."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from schemas.envelope import EARLIEST, LATEST, Event
from schemas.leads import LeadStatus
from streams.due import RECALLED_MAX


class Claimed(NamedTuple):
    """
    A lead under delivery; `attempt` is the number of the attempt that has begun.

    `received_at` is None where Python's calendar cannot hold it; `interruptions` counts the attempts just before this one whose
    worker ended before they did.
    """

    id: UUID
    partner: str
    partner_id: str
    external_lead_id: str
    payload: bytes
    traceparent: str
    received_at: datetime | None
    attempt: int
    failures: int
    interruptions: int = 0

    @property
    def suspect(self) -> bool:
        """Return whether it may be the cause of its worker's end."""
        return self.interruptions >= SUSPECT_AFTER


SUSPECT_AFTER: Final = 2
"""Interruptions in a row: a single one happens to every lead under way when a worker ends."""


class Move(NamedTuple):
    """The end of an attempt, and the next state of its lead."""

    lead_id: UUID
    attempt: int
    ended_at: datetime
    answer_status: int | None
    error: str | None
    excerpt: str | None
    status: LeadStatus
    next_attempt_at: datetime | None
    version: int
    counted: bool = True
    """False for an attempt whose failure uses up none of the lead's attempts."""


_RENEW: Final = """
update leads l set next_attempt_at = %s from unnest(%s::uuid[], %s::int4[]) as v(id, attempt)
where l.id = v.id and l.attempts = v.attempt and l.status = 'delivering' returning l.id
"""


async def renew(connection: AsyncConnection, leads: Collection[Claimed], until: datetime) -> list[UUID]:
    """Extend the claims of leads under way; return the ids of those that no other worker has claimed meanwhile."""
    columns = [lead.id for lead in leads], [lead.attempt for lead in leads]
    return [row[0] for row in await (await connection.execute(_RENEW, (until, *columns))).fetchall()]


# A due lead that is `delivering` was claimed by a worker that died, or hangs: its attempt ends as interrupted. If that happens
# to leads again and again, one of them may be the cause, so they are sent one at a time: it then interrupts none of the others.
_CLAIM: Final = f"""
with room as (
  select * from unnest(%(partners)s::text[], %(free)s::int4[], %(sizes)s::int8[], %(idle)s::bool[])
    as t(partner, free, size, idle)),
suspect as (
  select id from leads where partner = any(%(partners)s) and next_attempt_at <= %(now)s and interruptions >= {SUSPECT_AFTER}
  order by next_attempt_at limit %(suspects)s),
due as (
  select fitting.id from room cross join lateral (
    select id, size, sum(size) over (order by next_attempt_at, id) as total from (
      select id, next_attempt_at, octet_length(payload) as size from leads
      where leads.partner = room.partner and next_attempt_at <= %(now)s
        and (interruptions < {SUSPECT_AFTER} or id in (select id from suspect))
      order by next_attempt_at limit room.free for update skip locked) picked) fitting
  where fitting.total <= room.size or (room.idle and fitting.total = fitting.size)),
claimed as (
  update leads set status = 'delivering', attempts = attempts + 1, next_attempt_at = %(until)s, updated_at = %(now)s,
    interruptions = interruptions + (status = 'delivering')::int4
  from due where leads.id = due.id
  returning leads.id, partner, partner_id, external_lead_id, payload, traceparent,
            case when received_at >= %(earliest)s and received_at <= %(latest)s then received_at end, attempts, failures,
            interruptions),
interrupted as (
  update lead_attempts set ended_at = %(now)s, error = 'interrupted' from claimed
  where lead_id = claimed.id and attempt = claimed.attempts - 1 and ended_at is null),
begun as (insert into lead_attempts (lead_id, attempt, started_at) select id, attempts, %(now)s from claimed
          on conflict do nothing)
select * from claimed
"""


class Room(NamedTuple):
    """The number of leads of a partner that may be claimed, and their bytes; an idle partner may have one of any size."""

    leads: int
    size: int
    idle: bool


async def claim(
    connection: AsyncConnection, rooms: Mapping[str, Room], now: datetime, lease: timedelta, *, suspects: int = 1
) -> list[Claimed]:
    """
    Begin an attempt for each due lead, of each partner as many as it has room for; no other worker gets them for the lease.

    At most `suspects` of them are leads that may be the cause of their worker's end.
    """
    free, sizes, idle = zip(*rooms.values(), strict=True)
    values = {
        "partners": list(rooms), "free": list(free), "sizes": list(sizes), "idle": list(idle), "suspects": suspects,
        "now": now, "until": now + lease, "earliest": EARLIEST, "latest": LATEST,
    }  # fmt: skip
    rows = await (await connection.execute(_CLAIM, values)).fetchall()
    return [Claimed(*row) for row in rows]


_NEXT_DUE: Final = """
select extract(epoch from min(next_attempt_at) - %(now)s)::float8 from unnest(%(partners)s::text[]) as p(partner)
cross join lateral (
  select next_attempt_at from leads where leads.partner = p.partner and next_attempt_at > %(now)s
  order by next_attempt_at limit 1) as next
"""


async def next_due(connection: AsyncConnection, partners: Sequence[str], now: datetime) -> float | None:
    """Return the seconds until the next lead of the partners becomes due, or None if none will; due leads do not count."""
    row = await (await connection.execute(_NEXT_DUE, {"partners": list(partners), "now": now})).fetchone()
    return row[0] if row else None


_RECALL: Final = f"""
update leads set next_attempt_at = %s where id in (
  select id from leads where partner = any(%s) and next_attempt_at > %s limit {RECALLED_MAX} for update skip locked)
"""


async def recall(connection: AsyncConnection, partners: Sequence[str], after: datetime, until: datetime) -> None:
    """Make leads of these partners due at `until` that would be due later than `after`; a number of them in each call."""
    await connection.execute(_RECALL, (until, list(partners), after))


_UNKNOWN: Final = "select distinct partner from leads where next_attempt_at <= %s and partner <> all(%s) limit %s"


async def unknown_partners(connection: AsyncConnection, known: Sequence[str], now: datetime, limit: int) -> list[str]:
    """Return some partners of due leads that the settings do not name: their attempts fail, which raises alerts."""
    return [row[0] for row in await (await connection.execute(_UNKNOWN, (now, list(known), limit))).fetchall()]


_MOVE: Final = """
with v as (
  select * from unnest(%s::uuid[], %s::int4[], %s::timestamptz[], %s::int4[], %s::text[], %s::text[], %s::text[],
                       %s::timestamptz[], %s::int4[], %s::bool[])
    as t(lead_id, attempt, ended_at, answer_status, error, excerpt, status, next_attempt_at, version, counted)),
ended as (
  update lead_attempts a set ended_at = v.ended_at, status = v.answer_status, error = v.error, excerpt = v.excerpt,
                             next_attempt_at = v.next_attempt_at
  from v where (a.lead_id, a.attempt) = (v.lead_id, v.attempt))
update leads l set status = v.status, next_attempt_at = v.next_attempt_at, version = v.version, updated_at = v.ended_at,
  failures = failures + (v.status <> 'delivered' and v.counted)::int4, interruptions = 0, task_ids = '{}'
from v where l.id = v.lead_id
"""


async def move(connection: AsyncConnection, moves: Sequence[Move]) -> None:
    """End attempts and store the next state of their leads; the caller has locked the leads."""
    await connection.execute(_MOVE, [list(column) for column in zip(*moves, strict=True)])


_GIVE_UP: Final = """
with ended as (
  update lead_attempts set ended_at = %(now)s, error = %(error)s
  where lead_id = %(id)s and attempt = %(attempt)s and ended_at is null)
update leads set status = 'exhausted', next_attempt_at = null, updated_at = %(now)s, failures = failures + 1, interruptions = 0
where id = %(id)s and attempts = %(attempt)s and status = 'delivering'
"""


async def give_up(connection: AsyncConnection, lead: Claimed, error: str, now: datetime) -> bool:
    """Give up a lead without an event, since none could be written. Return False if this attempt is no longer the lead's."""
    values = {"id": lead.id, "attempt": lead.attempt, "error": error, "now": now}
    return (await connection.execute(_GIVE_UP, values)).rowcount > 0


_ADD_HISTORY: Final = """
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', t.* from unnest(%s::text[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[]) as t
"""


async def add_history(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Write events of leads into their history."""
    ids = [event.id for event in events]
    columns = [
        [e.aggregate_id for e in events],
        ids,
        list(map(str, ids)),
        [e.type for e in events],
        [e.occurred_at for e in events],
    ]
    await connection.execute(_ADD_HISTORY, columns)
