"""
Parts of the overview: results that other processes store, and counts with an upper bound.

The state of the ledger is that of the last sweep: computing the ledger itself would read every row of its period.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from operations.dead_letters.causes import cause_of
from operations.dead_letters.store import open_letters
from outbox.alerts import RUNBOOKS, WINDOWS
from outbox.shards import RELAYS, SHARDS
from runtime.build import release
from runtime.ids import time_of

COUNTED_MAX: Final = 10_000
_OPEN_FOR: Final = timedelta(hours=1)
_LONGEST: Final = max(*WINDOWS.values(), _OPEN_FOR)

_SWEPT: Final = "select swept_to from ledger_sweeps"
_FINDINGS: Final = """
select source, count(*) filter (where kind = 'in_flight') as in_flight,
  count(*) filter (where kind in ('missing', 'unlogged')) as off, min(since) filter (where kind = 'in_flight') as oldest
from (select source, kind, since from ledger_findings limit %s) f group by source order by source
"""
_PENDING: Final = """
select count(*) filter (where parked_at is null) as waiting, count(*) filter (where parked_at is not null) as parked,
  (array_agg(event_id order by id) filter (where parked_at is null))[1] as oldest_id
from (select id, event_id, parked_at from outbox_pending order by id limit %s) p
"""
_LEADS: Final = """
select count(*) from (
  select from leads l where l.status in ('exhausted', 'rejected')
    and not exists (select from lead_discards d where d.lead_id = l.id)
  order by l.updated_at desc, l.id desc limit %s) f
"""
_BREAKERS: Final = """
select partner, opened_at, probe_at, failures, error from lead_breakers where opened_at is not null order by opened_at limit %s
"""
# Under the subject `operators` the alerts worker counts the alerts that it has sent.
_ALERTS: Final = """
select alert, subject, count, started_at, raised_at from alert_windows
where raised_at is not null and started_at > now() - %s::interval and subject <> 'operators' order by raised_at desc limit %s
"""
_RELAYS: Final = """
select count(*) filter (where classid = %(members)s)::int as relays, count(*) filter (where classid = %(shards)s)::int as shards
from pg_locks where locktype = 'advisory' and granted and objsubid = 2
  and database = (select oid from pg_database where datname = current_database())
"""
_SESSIONS: Final = """
select substr(application_name, 11) as name, count(*)::int as sessions, min(backend_start) as since from pg_stat_activity
where starts_with(application_name, 'tallyhook ') and datname = current_database() group by 1 order by 1
"""


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the answer; unknown values are left out."""


class SourceLamp(_View, frozen=True, kw_only=True):
    """The state of one source in the ledger's last sweep."""

    source: str  #: The source.
    balanced: bool  #: False if a delivery lacks its event, or an event its delivery.
    off: int  #: Number of rows that lack their other half.
    in_flight: int  #: Number of webhooks that have had no effect for long, as the sweep found.
    oldest: datetime | None = None  #: The arrival of the oldest webhook in flight; absent if there is none.


class Lamp(_View, frozen=True, kw_only=True):
    """The result of the last sweep of the ledger."""

    balanced: bool  #: True if every source is balanced.
    sources: list[SourceLamp]  #: The sources with findings; every other one is balanced.
    swept_to: datetime | None = None  #: The arrival up to which the ledger is swept; absent before the first sweep.


class Pending(_View, frozen=True, kw_only=True):
    """The events that wait for Kafka."""

    waiting: int  #: Number of events that wait; at most 10,000 are counted.
    parked: int  #: Number of events that Kafka refused for good, among the oldest 10,000.
    oldest: datetime | None = None  #: The time of the oldest event that waits; absent if none does.


class Relays(_View, frozen=True, kw_only=True):
    """The live relays, which divide the events among themselves."""

    relays: int  #: Number of live relays.
    shards: int  #: Number of shards that a live relay holds.
    of: int  #: Number of shards in total. The events of a shard without a holder wait.


class OpenLetters(_View, frozen=True, kw_only=True):
    """The open dead letters."""

    ours: int  #: Records that we have to repair.
    theirs: int  #: Records that a provider or partner has to repair.
    leads: int  #: Leads that a partner did not accept; at most 10,000 are counted.


class PartnerInTrouble(_View, frozen=True, kw_only=True):
    """A partner whose CRM is not called at present."""

    partner: str  #: The partner's id, as keys and metrics have it.
    opened_at: datetime  #: The time since which its CRM is not called.
    probe_at: datetime  #: The time of the next try.
    failures: int  #: Failures in a row.
    error: str | None = None  #: The stable word for the last error.


class OpenAlert(_View, frozen=True, kw_only=True):
    """An alert whose window has not ended, or that was raised within the last hour."""

    alert: str  #: The name of the alert.
    subject: str  #: The source, worker or partner that it is about.
    count: int  #: Occurrences in the window.
    raised_at: datetime  #: The time at which it was raised.
    runbook: str | None = None  #: The page that describes the remedy; absent for an alert of another release.


class Sessions(_View, frozen=True, kw_only=True):
    """The Postgres sessions of one part of our processes."""

    name: str  #: The part, such as `intake` or `worker payments`.
    sessions: int  #: Number of sessions.
    since: datetime  #: The time at which the oldest of them began.


class Overview(_View, frozen=True, kw_only=True):
    """The state of the whole system."""

    at: datetime  #: The time of the answer, by Postgres' clock.
    version: str  #: The version of the gateway that answers.
    ledger: Lamp  #: The ledger.
    pending: Pending  #: The events that wait for Kafka.
    relay: Relays  #: The relays.
    dead_letters: OpenLetters  #: The open dead letters.
    partners: list[PartnerInTrouble]  #: The partners in trouble, the longest first.
    alerts: list[OpenAlert]  #: The open alerts, the latest first.
    processes: list[Sessions]  #: The parts of our processes that are connected; Postgres does not know their versions.


async def overview(connection: AsyncConnection) -> Overview:
    """Read the overview."""
    (now,) = (await _rows(connection, "select now() as at"))[0].values()
    return Overview(
        at=now,
        version=release(),
        ledger=await _lamp(connection),
        pending=await _pending(connection),
        relay=Relays(of=SHARDS, **(await _rows(connection, _RELAYS, **RELAYS._asdict()))[0]),
        dead_letters=await dead_letters(connection, await open_letters(connection)),
        partners=[PartnerInTrouble(**row) for row in await _rows(connection, _BREAKERS, COUNTED_MAX)],
        alerts=[_alert(row) for row in await _rows(connection, _ALERTS, _LONGEST, COUNTED_MAX) if _is_open(row, now)],
        processes=[Sessions(**row) for row in await _rows(connection, _SESSIONS)],
    )


async def dead_letters(connection: AsyncConnection, letters: Sequence[tuple[str, str, int]]) -> OpenLetters:
    """Count the open dead letters: these records by their fault, and the leads that wait for an operator."""
    faults = [(cause_of(reason).fault, number) for _, reason, number in letters]
    return OpenLetters(
        ours=sum(number for fault, number in faults if fault == "ours"),
        theirs=sum(number for fault, number in faults if fault == "theirs"),
        leads=(await _rows(connection, _LEADS, COUNTED_MAX))[0]["count"],
    )


async def _lamp(connection: AsyncConnection) -> Lamp:
    sources = [SourceLamp(**row, balanced=not row["off"]) for row in await _rows(connection, _FINDINGS, COUNTED_MAX)]
    swept = await _rows(connection, _SWEPT)
    return Lamp(
        balanced=all(each.balanced for each in sources), sources=sources, swept_to=swept[0]["swept_to"] if swept else None
    )


async def _pending(connection: AsyncConnection) -> Pending:
    [row] = await _rows(connection, _PENDING, COUNTED_MAX)
    oldest = row.pop("oldest_id")
    return Pending(**row, oldest=time_of(oldest) if oldest else None)


def _is_open(row: dict[str, Any], now: datetime) -> bool:
    until = max(row["raised_at"] + _OPEN_FOR, row["started_at"] + WINDOWS.get(row["alert"], _OPEN_FOR))
    return bool(until > now)


def _alert(row: dict[str, Any]) -> OpenAlert:
    fields = {name: value for name, value in row.items() if name != "started_at"}
    return OpenAlert(**fields, runbook=RUNBOOKS.get(row["alert"]))


async def _rows(connection: AsyncConnection, statement: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values or named or None)
        return await cursor.fetchall()
