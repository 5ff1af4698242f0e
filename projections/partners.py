"""The state of partners: the leads that wait for each, the reason, and the request to try a CRM now."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from projections.config import last_usable, read_values
from projections.config_keys import is_usable
from projections.leads import DUE_CHANNEL
from projections.partner_store import PARTNERS

WaitingFor = Literal["partner_paused", "breaker_open"]


class PartnerView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """
    One partner, by the `{ID}` of its variables.

    `waiting` counts its undelivered leads that will be tried again, `due` those of them whose time has come; the times of the
    oldest are `oldest_received_at` and `oldest_due_at`. Its breaker is open from `opened_at` on, after `failures` in a row,
    the last of them `error`; the CRM is tried again at `probe_at`, and was last tried at `tried_at`. `asked_at` is the last
    request to try it at once.
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
    asked_at: datetime | None = None


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
  from leads where next_attempt_at is not null {also} group by partner)
select partner, coalesce(waiting, 0) as waiting, coalesce(due, 0) as due, oldest_received_at, oldest_due_at,
       opened_at, probe_at, coalesce(failures, 0) as failures, error, tried_at, asked_at
from waiting full join lead_breakers using (partner) {where} order by partner
"""
_READ_ALL: Final = _READ.format(also="", where="")
_READ_ONE: Final = _READ.format(also="and partner = %(partner)s", where="where partner = %(partner)s")


async def read_partners(connection: AsyncConnection) -> list[PartnerView]:
    """Read every partner with waiting leads, or with a CRM that has failed."""
    async with connection.cursor(row_factory=class_row(PartnerView)) as cursor:
        return await (await cursor.execute(_READ_ALL)).fetchall()


async def read_partner(connection: AsyncConnection, partner: str) -> PartnerView | None:
    """Read one of them; None if no lead of it waits and its CRM has not failed."""
    async with connection.cursor(row_factory=class_row(PartnerView)) as cursor:
        return await (await cursor.execute(_READ_ONE, {"partner": partner})).fetchone()


class Pause(NamedTuple):
    """`paused` is true if the leads of a partner are held back; `by` decides that: the configuration overrides the terms."""

    paused: bool
    by: Literal["configuration", "terms"]


async def read_pauses(connection: AsyncConnection, configured: Iterable[str]) -> dict[str, Pause]:
    """
    Read the pauses by which the leads worker decides, for each partner that exists or has a key.

    `configured` are the partners of the settings: a row of the same id is not used.
    """
    found = {row.id: Pause(row.terms.paused, "terms") for row in await PARTNERS.read_all(connection)}
    found |= dict.fromkeys(configured, Pause(paused=False, by="configuration"))
    for key, value in (await read_values(connection)).items():
        if partner := _PAUSED.fullmatch(key):
            usable = value if is_usable(key, value) else await last_usable(connection, key)
            if usable is not None:
                found[partner[1]] = Pause(usable, "configuration")
    return found


def pause_key(partner: str) -> str:
    """Return the key of the runtime configuration that holds the partner's leads back."""
    return f"partner.{partner}.paused"


async def why_waiting(connection: AsyncConnection, partner: str, configured: Iterable[str]) -> Wait | None:
    """Read the reason why the partner's leads are not delivered now; None if none is known here."""
    pause = (await read_pauses(connection, configured)).get(partner)
    if pause and pause.paused:
        terms = f"the terms of {partner} have paused: true"
        by_key = f"{pause_key(partner)} is true in the runtime configuration"
        return Wait("partner_paused", terms if pause.by == "terms" else by_key)
    row = await (await connection.execute(_OPEN, (partner,))).fetchone()
    if row is None:
        return None
    failures, error, probe_at = row
    detail = f"the partner's CRM has failed {failures} times in a row ({error}): no lead is sent to it until its next probe"
    return Wait("breaker_open", detail, probe_at)


_PAUSED: Final = re.compile(pause_key("([A-Z0-9_]+)").replace(".", "[.]"))
_OPEN: Final = "select failures, error, probe_at from lead_breakers where partner = %s and opened_at is not null"
# An attempt of a time when the clock was ahead would seem to be later than the request.
_ASK: Final = """
with asked as (
  insert into lead_breakers as b (partner, asked_at) values (%(partner)s, clock_timestamp())
  on conflict (partner) do update set asked_at = excluded.asked_at,
    tried_at = case when b.tried_at < excluded.asked_at then b.tried_at end returning asked_at)
select asked_at, pg_notify(%(channel)s, '') from asked
"""


async def request_probe(connection: AsyncConnection, partner: str) -> datetime:
    """Request an attempt at the partner's CRM now, regardless of its breaker; returns the time of the request."""
    row = await (await connection.execute(_ASK, {"partner": partner, "channel": DUE_CHANNEL})).fetchone()
    assert row is not None  # noqa: S101  # the statement inserts or updates one row
    asked_at: datetime = row[0]
    return asked_at
