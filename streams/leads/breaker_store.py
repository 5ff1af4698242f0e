"""The state of breakers in Postgres: written by the worker that delivers to a CRM, which also reads requests for probes there."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from streams.leads.delivery_store import SUSPECT_AFTER

_MADE_DUE_MAX: Final = 500
"""The most leads that one statement makes due."""


class BreakerState(NamedTuple):
    """The state of a breaker: `probe_at` is None where it is closed, `error` is the latest failure of the CRM."""

    partner: str
    probe_at: datetime | None
    failures: int
    error: str | None
    at: datetime


# A request of a time when the clock was ahead would be later than every attempt, so it ends with this one.
_WRITE: Final = """
insert into lead_breakers as b (partner, opened_at, probe_at, failures, error, tried_at)
values (%(partner)s, case when %(probe_at)s::timestamptz is not null then %(at)s end, %(probe_at)s, %(failures)s, %(error)s,
        greatest(%(at)s, clock_timestamp()))
on conflict (partner) do update set probe_at = excluded.probe_at, failures = excluded.failures, error = excluded.error,
  tried_at = excluded.tried_at, asked_at = case when b.asked_at <= clock_timestamp() then b.asked_at end,
  opened_at = case when excluded.probe_at is not null then coalesce(b.opened_at, excluded.opened_at) end
"""


async def write(connection: AsyncConnection, state: BreakerState) -> None:
    """Store the state of a breaker after an attempt, or after an operator's request has closed it."""
    await connection.execute(_WRITE, state._asdict())


_OPEN: Final = "select partner, failures from lead_breakers where opened_at is not null and partner = any(%s)"


async def read_open(connection: AsyncConnection, partners: Collection[str]) -> dict[str, int]:
    """Return those of the partners whose stored breaker is open, with its failures in a row."""
    return dict(await (await connection.execute(_OPEN, (list(partners),))).fetchall())


_PROBE_REQUESTS: Final = """
select partner from lead_breakers where partner = any(%s) and asked_at > coalesce(tried_at, '-infinity')
"""


async def read_probe_requests(connection: AsyncConnection, partners: Collection[str]) -> list[str]:
    """Return those of the partners whose CRM an operator wants to be probed now."""
    return [row[0] for row in await (await connection.execute(_PROBE_REQUESTS, (list(partners),))).fetchall()]


_PULL: Final = f"""
with next as (
  select id, next_attempt_at from leads
  where partner = %(partner)s and next_attempt_at > %(now)s and status = 'retrying' and interruptions < {SUSPECT_AFTER}
  order by next_attempt_at limit 1 for update skip locked)
update leads set next_attempt_at = %(now)s from next where leads.id = next.id returning leads.id, next.next_attempt_at
"""


async def pull(connection: AsyncConnection, partner: str, now: datetime) -> tuple[UUID, datetime] | None:
    """Make the partner's next lead due now, as a probe of its CRM; return its id, and when it would have been due."""
    row = await (await connection.execute(_PULL, {"partner": partner, "now": now})).fetchone()
    return (row[0], row[1]) if row else None


_MAKE_DUE: Final = """
update leads set next_attempt_at = %(now)s where id in (
  select id from leads
  where partner = %(partner)s and next_attempt_at > %(now)s and status = 'retrying' and updated_at <= %(since)s
  order by next_attempt_at limit %(limit)s for update skip locked)
"""


async def make_due(connection: AsyncConnection, partner: str, since: datetime, now: datetime) -> bool:
    """Make leads due that have waited since before the CRM came back; return whether there may be more of them."""
    values = {"partner": partner, "since": since, "now": now, "limit": _MADE_DUE_MAX}
    return (await connection.execute(_MAKE_DUE, values)).rowcount == _MADE_DUE_MAX


def probe_time(open_until: float | None, moment: float, now: datetime) -> datetime | None:
    """Return when a breaker lets the next attempt through, by the clock that all processes share."""
    return None if open_until is None else now + timedelta(seconds=max(0.0, open_until - moment))
