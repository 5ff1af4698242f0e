"""The state of partners: the leads that wait for each, the reason, and the request to try a CRM now."""

from datetime import datetime
from typing import Final, Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from projections.config import in_force
from projections.leads import DUE_CHANNEL
from projections.partner_store import PARTNERS

WaitingFor = Literal["partner_paused", "breaker_open"]


class PartnerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """
    One partner, by the `{ID}` of its variables.

    `waiting` counts its undelivered leads that will be tried again, `due` those of them whose time has come; the times of the
    oldest are `oldest_received_at` and `oldest_due_at`. Its breaker is open from `opened_at` on, after `failures` in a row,
    the last of them `error`; the CRM is tried again at `probe_at`, and has been tried last at `tried_at`.
    """

    partner: str
    waiting: int = 0
    due: int = 0
    oldest_received_at: datetime | None = None
    oldest_due_at: datetime | None = None
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    failures: int = 0
    error: str | None = None
    tried_at: datetime | None = None


class Wait(msgspec.Struct, frozen=True):
    """The reason why the leads of a partner wait, and the end of the wait if it is known."""

    reason: WaitingFor
    detail: str
    until: datetime | None = None


_READ: Final = """
with waiting as (
  select partner, count(*) as waiting, count(*) filter (where next_attempt_at <= now() and status <> 'delivering') as due,
         min(received_at) as oldest_received_at,
         min(next_attempt_at) filter (where next_attempt_at <= now() and status <> 'delivering') as oldest_due_at
  from leads where next_attempt_at is not null group by partner)
select partner, coalesce(waiting, 0) as waiting, coalesce(due, 0) as due, oldest_received_at, oldest_due_at,
       opened_at, probe_at, coalesce(failures, 0) as failures, error, tried_at
from waiting full join lead_breakers using (partner) order by partner
"""


async def read_partners(connection: AsyncConnection) -> list[PartnerView]:
    """Read every partner with waiting leads, or with a CRM that has failed."""
    async with connection.cursor(row_factory=class_row(PartnerView)) as cursor:
        return await (await cursor.execute(_READ)).fetchall()


async def why_waiting(connection: AsyncConnection, partner: str) -> Wait | None:
    """Read the reason why the partner's leads are not delivered now; None if none is known here."""
    if await in_force(connection, f"partner.{partner}.paused", default=False):
        return Wait("partner_paused", f"partner.{partner}.paused is true in the runtime configuration")
    known = await PARTNERS.read(connection, partner)
    if known and known.terms.paused:
        return Wait("partner_paused", f"the terms of {partner} have paused: true")
    row = await (await connection.execute(_OPEN, (partner,))).fetchone()
    if row is None:
        return None
    failures, error, probe_at = row
    detail = f"the partner's CRM has failed {failures} times in a row ({error}): it is left alone until its next probe"
    return Wait("breaker_open", detail, probe_at)


_OPEN: Final = "select failures, error, probe_at from lead_breakers where partner = %s and opened_at is not null"
_ASK: Final = """
with asked as (
  insert into lead_breakers (partner, asked_at) values (%(partner)s, clock_timestamp())
  on conflict (partner) do update set asked_at = excluded.asked_at returning asked_at)
select asked_at, pg_notify(%(channel)s, '') from asked
"""


async def ask_probe(connection: AsyncConnection, partner: str) -> datetime:
    """Ask for an attempt at the partner's CRM now, regardless of its breaker; return the time of the request."""
    row = await (await connection.execute(_ASK, {"partner": partner, "channel": DUE_CHANNEL})).fetchone()
    assert row is not None  # noqa: S101  # the statement inserts or updates one row
    asked_at: datetime = row[0]
    return asked_at
