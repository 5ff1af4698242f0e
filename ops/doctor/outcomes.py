"""Examines outcomes: whether leads, notifications and webhooks have their effects, and whether processes carry them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg

from operations.errors import OperationError
from operations.ledger import books
from ops.doctor.findings import fail, ok, one_line, warn
from ops.doctor.settings import address_in
from ops.doctor.store import LIMIT, SESSIONS, late_notifications
from projections.config import in_force
from projections.partners import pause_key, read_partners
from projections.roster import Roster
from runtime.addresses import shown
from runtime.endpoints import check_database
from runtime.seals import Seals
from runtime.sessions import connect_async
from runtime.settings import SettingsError
from schemas.partners import PartnerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ops.doctor.findings import Finding
    from projections.partners import PartnerView
    from schemas.partners import Partner

LEADS: Final = "leads"
NOTIFICATIONS: Final = "notifications"
LEDGER: Final = "ledger"
PROCESSES: Final = "processes"
_LATE: Final = timedelta(minutes=2)
"""A row that is due for longer is not being worked on."""
_OLD: Final = timedelta(minutes=15)
_IN_FLIGHT: Final = timedelta(minutes=5)
_SPAN: Final = timedelta(days=1)


def check_outcomes(environ: Mapping[str, str]) -> Iterable[Finding]:
    url = address_in(environ, "DATABASE_URL", check_database)
    if not url:
        return []  # reported among the settings
    try:
        return asyncio.run(_check(url, _roster(environ)))
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.OperationalError) as error:
        if isinstance(error, psycopg.errors.QueryCanceled):
            act = "find the slow statement in pg_stat_activity, and run the doctor again"
            return [warn(LEDGER, f"{shown(url)} did not report its state in time: {one_line(error)}", act, "postgres-down")]
        return []  # reported by the examination of Postgres


def _roster(environ: Mapping[str, str]) -> Roster:
    try:
        return Roster.of(PartnerSettings.load(environ))
    except SettingsError:
        return Roster({}, Seals(()))  # reported among the settings


async def _check(url: str, partners: Roster) -> list[Finding]:
    async with await connect_async(url, name="doctor", statement=LIMIT) as connection:
        now = datetime.now(UTC)
        await partners.refresh(connection)
        found = await _check_processes(connection)
        found += [each async for each in _check_leads(connection, partners, now)] or [
            ok(LEADS, "none waits for long (table leads)")
        ]
        found += [each async for each in _check_notifications(connection, now)] or [
            ok(NOTIFICATIONS, "none waits for long (table notifications)")
        ]
        return [*found, *await _check_ledger(connection, now)]


async def _check_processes(connection: psycopg.AsyncConnection) -> list[Finding]:
    """Gateways and relays, by the locks that live ones hold."""
    row: Any = await (await connection.execute(SESSIONS)).fetchone()
    gateways, relays, pending = row
    found = []
    for name, number in (("gateway", gateways), ("relay", relays)):
        held = f"{number} sessions hold its lock (pg_locks)"
        if number:
            found.append(ok(PROCESSES, f"{name}: {held}"))
        elif gateways or relays or pending:
            act = f"start one with `tallyhook {name}`; one that hangs has lost its lock: end it"
            found.append(fail(PROCESSES, f"no {name} works: {held}, {pending} events wait for Kafka", act, "process-down"))
        else:
            found.append(warn(PROCESSES, f"no {name} runs: {held}", f"start one with `tallyhook {name}`", "process-down"))
    return found


async def _check_leads(connection: psycopg.AsyncConnection, partners: Mapping[str, Partner], now: datetime) -> Any:
    for view in await read_partners(connection):
        partner = partners.get(view.partner)
        if await in_force(connection, pause_key(view.partner), default=partner is not None and partner.paused):
            if view.waiting:
                act = f"`tallyhook partners resume {view.partner}` when they may go"
                yield warn(LEADS, f"{_waiting(view)}, and are paused", act, "partner-down")
            continue
        for finding in _look(view, partner, now):
            yield finding


def _look(view: PartnerView, partner: Partner | None, now: datetime) -> Iterator[Finding]:
    crm = shown(partner.crm_url) if partner and partner.crm_url else "no CRM_URL is set"
    if view.opened_at and view.probe_at:
        act = f"inform the partner; once it is back, `tallyhook partners probe {view.partner}`"
        text = (
            f"{_waiting(view)}: its CRM ({crm}) has failed {view.failures} times in a row ({view.error}), and has not been called"
            f" since {view.opened_at:%H:%M:%S} UTC, tried next at {view.probe_at:%H:%M:%S} (table lead_breakers)"
        )
        yield (fail if view.waiting else warn)(LEADS, text, act, "partner-down")
    elif view.oldest_due_at and now - view.oldest_due_at > _LATE:
        act = "check that a leads worker runs and has a CRM to send to; its log names the cause"
        text = f"{_waiting(view)}: {view.due} are due and not tried, the oldest for {_minutes(now - view.oldest_due_at)}"
        yield fail(LEADS, text, act, "lead-delivery")
    elif view.oldest_received_at and now - view.oldest_received_at > _OLD:
        act = "read the answers of its CRM in the table lead_attempts"
        yield warn(
            LEADS, f"{_waiting(view)}, the oldest for {_minutes(now - view.oldest_received_at)} ({crm})", act, "partner-down"
        )


def _waiting(view: PartnerView) -> str:
    return f"partner {view.partner}: {view.waiting} leads wait"


async def _check_notifications(connection: psycopg.AsyncConnection, now: datetime) -> Any:
    for channel, number, oldest, due in await late_notifications(connection):
        text = f"{channel}: {number} wait to be sent (table notifications)"
        if await in_force(connection, f"channel.{channel}.paused", default=False):
            act = f"set channel.{channel}.paused to false when they may go"
            yield warn(NOTIFICATIONS, f"{text}, and are paused by the runtime configuration", act, "notifications")
        elif due and now - due > _LATE:
            act = "check that a notifications worker runs, and read its log"
            yield fail(NOTIFICATIONS, f"{text}, the oldest is due for {_minutes(now - due)}", act, "notifications")
        elif oldest and now - oldest > _OLD:
            act = "read the answers of its server: `error` in that table"
            yield fail(NOTIFICATIONS, f"{text}, the oldest for {_minutes(now - oldest)}", act, "notifications")


async def _check_ledger(connection: psycopg.AsyncConnection, now: datetime) -> list[Finding]:
    try:
        found = await books.read(connection, now - _SPAN, now)
    except OperationError:
        return []  # reported with the days
    late = [each for each in found.sources if each.oldest_in_flight and now - each.oldest_in_flight > _IN_FLIGHT]
    act = "`tallyhook ledger` shows where each is; check that the worker that settles the source runs"
    findings = [
        fail(LEDGER, f"{each.source}: {each.in_flight} webhooks have had no effect yet, the oldest for {age}", act, "ledger")
        for each in late
        if each.oldest_in_flight and (age := _minutes(now - each.oldest_in_flight))
    ]
    if not found.balanced:
        act = "`tallyhook ledger` names them"
        findings.append(fail(LEDGER, "not everything that came in within a day is accounted for", act, "ledger"))
    received = sum(each.received for each in found.sources)
    return findings or [ok(LEDGER, f"all {received} webhooks of a day are accounted for, none is late")]


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:.0f} min"
