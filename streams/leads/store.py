"""The worker's SQL: leads taken in, claimed when they are due, and moved on with the attempt that settles."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from outbox.append import NewEvent
from outbox.erased import is_marker
from projections.leads import LeadStatus
from schemas.envelope import EARLIEST, LATEST


class NewLead(NamedTuple):
    id: UUID
    partner: str
    partner_id: str
    external_lead_id: str
    payload: bytes
    traceparent: str
    received_at: datetime


class Claimed(NamedTuple):
    """
    A lead under delivery; `attempt` is the number of the attempt that has begun.

    `received_at` is None where no calendar of ours holds it; `interruptions` counts the attempts just before this one that their
    worker did not live to end.
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
        """Whether it may be what ends its worker."""
        return self.interruptions >= SUSPECT_AFTER


SUSPECT_AFTER: Final = 2
"""Interruptions in a row: a single one happens to every lead under way when a worker ends."""


class Standing(NamedTuple):
    """A locked lead, as far as moving it on needs."""

    partner: str
    status: LeadStatus
    attempts: int
    version: int
    task_ids: Sequence[UUID]
    erased: bool = False


class Move(NamedTuple):
    """The end of an attempt, and what it makes of its lead."""

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
    """Whether a failure is one of those that the lead may have."""


_TAKE_IN: Final = """
with v as (
  select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::timestamptz[])
    as t(id, partner, partner_id, external_lead_id, payload, traceparent, received_at)),
kept as (
  insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                     suppressed, next_attempt_at)
  select id, partner, partner_id, external_lead_id, 'received', payload, traceparent, received_at, received_at, 1,
         held, case when held is null then least(received_at, now()) end
  from v, (select %s::text as held) as w on conflict (id) do nothing)
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', id::text, id, external_lead_id, 'lead.partner.received', received_at from v on conflict do nothing
"""


async def take_in(connection: AsyncConnection, leads: Sequence[NewLead], *, held: str | None = None) -> None:
    """Write new leads down, due at once or `held` back for that reason; one that is there stays as it is."""
    await connection.execute(_TAKE_IN, [*(list(column) for column in zip(*leads, strict=True)), held])


class Retold(NamedTuple):
    """What one of the lead's own events says of it."""

    lead_id: UUID
    event_id: UUID
    type: str
    at: datetime
    attempt: int
    version: int
    status: LeadStatus
    answer_status: int | None
    error: str | None
    next_attempt_at: datetime | None


# An event that the row knows already has no later version than the row.
_RETELL: Final = """
with told as (
  update leads set status = %(status)s, version = %(version)s, attempts = greatest(attempts, %(attempt)s), task_ids = '{}',
    next_attempt_at = case when %(held)s::text is null then %(next_attempt_at)s::timestamptz end,
    failures = failures + (%(type)s = 'lead.delivery.failed')::int4, updated_at = %(at)s,
    suppressed = case when %(status)s = 'retrying' then %(held)s::text end
  where id = %(lead_id)s and version < %(version)s returning id),
attempted as (
  insert into lead_attempts as a (lead_id, attempt, started_at, ended_at, status, error, next_attempt_at)
  select id, %(attempt)s, %(at)s, %(at)s, %(answer_status)s, %(error)s, %(next_attempt_at)s from told
  on conflict (lead_id, attempt) do update set ended_at = excluded.ended_at, status = excluded.status, error = excluded.error,
    next_attempt_at = excluded.next_attempt_at where a.ended_at is null)
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', id::text, %(event_id)s, %(event_id)s::text, %(type)s, %(at)s from told on conflict do nothing
"""


async def retell(connection: AsyncConnection, told: Retold, held: str | None = None) -> None:
    """Move a lead on to where its event says that it was; one that would be tried again is `held` back for that reason."""
    await connection.execute(_RETELL, {**told._asdict(), "held": held})


_RECEIVED: Final = "select data, traceparent, occurred_at from outbox where id = %s and type = 'lead.partner.received'"


async def received(connection: AsyncConnection, lead_id: UUID) -> tuple[bytes, str, datetime] | None:
    """The event that brought a lead, from the log: a command may overtake it on Kafka, where topics have no common order."""
    row = await (await connection.execute(_RECEIVED, (lead_id,))).fetchone()
    return None if row is None else (bytes(row[0]), str(row[1]), row[2])


_LOCK: Final = f"""
select id, partner, status, attempts, version, task_ids, {is_marker("payload")} from leads where id = any(%s)
order by id for update
"""


async def lock(connection: AsyncConnection, lead_ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Lock leads against everybody, in one order for all."""
    rows = await (await connection.execute(_LOCK, (list(lead_ids),))).fetchall()
    return {row[0]: Standing(*row[1:]) for row in rows}


_HURRY: Final = """
update leads set task_ids = task_ids || %s::uuid, suppressed = null, failures = case when %s then 0 else failures end,
  interruptions = 0,
  next_attempt_at = case when status = 'delivering' then next_attempt_at else %s end,
  status = case when status in ('received', 'delivering') then status else 'retrying' end
where id = %s
"""


async def hurry(connection: AsyncConnection, lead_id: UUID, task_id: UUID, now: datetime, *, afresh: bool = False) -> None:
    """Make a lead due now, and its next outcome that of the task; `afresh` gives it all of its attempts again."""
    await connection.execute(_HURRY, (task_id, afresh, now, lead_id))


_RENEW: Final = """
update leads l set next_attempt_at = %s from unnest(%s::uuid[], %s::int4[]) as v(id, attempt)
where l.id = v.id and l.attempts = v.attempt and l.status = 'delivering' returning l.id
"""


async def renew(connection: AsyncConnection, leads: Collection[Claimed], until: datetime) -> list[UUID]:
    """Go on holding leads whose attempts are under way; the ids of those that nobody else has claimed meanwhile."""
    columns = [lead.id for lead in leads], [lead.attempt for lead in leads]
    return [row[0] for row in await (await connection.execute(_RENEW, (until, *columns))).fetchall()]


# A due lead that is `delivering` was claimed by a worker that died, or hangs: its attempt ends as interrupted. Of those to which
# that happens again and again one may be the cause, so they go one at a time, and the others do not share its fate.
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
    """How many leads of a partner may be claimed, of how many bytes; while it is idle one of whatever size."""

    leads: int
    size: int
    idle: bool


async def claim(
    connection: AsyncConnection, rooms: Mapping[str, Room], now: datetime, lease: timedelta, *, suspects: int = 1
) -> list[Claimed]:
    """
    Begin an attempt for each lead that is due, as many of a partner as there is room; nobody else gets them for the lease.

    Of the leads that may be what ends their worker no more than `suspects` are among them.
    """
    free, sizes, idle = zip(*rooms.values(), strict=True)
    values = {
        "partners": list(rooms), "free": list(free), "sizes": list(sizes), "idle": list(idle), "suspects": suspects,
        "now": now, "until": now + lease, "earliest": EARLIEST, "latest": LATEST,
    }  # fmt: skip
    rows = await (await connection.execute(_CLAIM, values)).fetchall()
    return [Claimed(*row) for row in rows]


_STRANGERS: Final = "select distinct partner from leads where next_attempt_at <= %s and partner <> all(%s) limit %s"


async def strangers(connection: AsyncConnection, known: Sequence[str], now: datetime, limit: int) -> list[str]:
    """Some partners of due leads that no variables speak of: their attempts fail, so that somebody hears of it."""
    return [row[0] for row in await (await connection.execute(_STRANGERS, (now, list(known), limit))).fetchall()]


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
    """End attempts and move their leads on; the caller has locked them."""
    await connection.execute(_MOVE, [list(column) for column in zip(*moves, strict=True)])


_GIVE_UP: Final = """
with ended as (
  update lead_attempts set ended_at = %(now)s, error = %(error)s
  where lead_id = %(id)s and attempt = %(attempt)s and ended_at is null)
update leads set status = 'exhausted', next_attempt_at = null, updated_at = %(now)s, failures = failures + 1, interruptions = 0
where id = %(id)s and attempts = %(attempt)s and status = 'delivering'
"""


async def give_up(connection: AsyncConnection, lead: Claimed, error: str, now: datetime) -> bool:
    """Let a lead be tried no more, without an event: none could be written of it. False where it is no longer ours."""
    values = {"id": lead.id, "attempt": lead.attempt, "error": error, "now": now}
    return (await connection.execute(_GIVE_UP, values)).rowcount > 0


_REMEMBER: Final = """
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', t.* from unnest(%s::text[], %s::uuid[], %s::text[], %s::text[], %s::timestamptz[]) as t
"""


async def remember(connection: AsyncConnection, events: Sequence[NewEvent]) -> None:
    """Write events of leads into their history."""
    ids = [event.id for event in events]
    columns = [
        [e.aggregate_id for e in events],
        ids,
        list(map(str, ids)),
        [e.type for e in events],
        [e.occurred_at for e in events],
    ]
    await connection.execute(_REMEMBER, columns)
