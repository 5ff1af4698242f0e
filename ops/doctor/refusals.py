"""Deliveries of lately: those that were refused for their signature, and why the last one was; and the modes of the others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg

from gateway.settings import GatewaySettings
from operations.deliveries import clues
from ops.doctor.findings import fail, ok, warn
from ops.doctor.modes import check_modes
from runtime.ids import first_id_of
from runtime.settings import SettingsError
from schemas.providers import providers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ops.doctor.findings import Finding

AREA: Final = "webhooks"
_WITHIN: Final = timedelta(hours=1)
_RECENTLY: Final = timedelta(minutes=15)
_FEW: Final = 3
_SHARE: Final = 0.5
_RECENT: Final = """
select count(*) filter (where outcome = 'rejected'), count(*) from webhook_deliveries where id >= %s and source = %s
"""
_REFUSED: Final = """
select source, count(*) filter (where starts_with(reason, 'signature_') or starts_with(reason, 'timestamp_'))
from webhook_deliveries where id >= %s and outcome = 'rejected' group by source order by source
"""


def check_refusals(environ: Mapping[str, str]) -> Iterable[Finding]:
    try:
        settings = GatewaySettings.load(environ)
    except SettingsError:
        return []  # reported among the settings
    try:
        return asyncio.run(_check(settings))
    except psycopg.errors.QueryCanceled:
        return [warn(AREA, "Postgres did not report refused deliveries in time", "ask again", "postgres-down")]
    except psycopg.Error:
        return []  # reported of Postgres


async def _check(settings: GatewaySettings) -> list[Finding]:
    since = first_id_of(datetime.now(UTC) - _WITHIN)
    options = "-c statement_timeout=5000 -c timezone=UTC"
    async with await psycopg.AsyncConnection.connect(
        settings.database_url, autocommit=True, connect_timeout=5, application_name="tallyhook doctor", options=options
    ) as connection:
        refused = await (await connection.execute(_REFUSED, (since,))).fetchall()
        tried = clues.settings_of(settings)
        looks = [await _look(connection, tried, source, number) for source, number in refused]
        found = [finding for finding in looks if finding]
        found = found or [ok(AREA, "none was refused for its signature within the hour")]
        for provider in providers():
            if provider.mode_setting and (live := tried.sources.get(provider.name)):
                found += await check_modes(connection, provider, live.source.mode)
    return found


async def _look(connection: psycopg.AsyncConnection, tried: clues.Settings, source: str, number: int) -> Finding | None:
    recent = first_id_of(datetime.now(UTC) - _RECENTLY)
    row = await (await connection.execute(_RECENT, (recent, source))).fetchone()
    refused, all_of_them = row or (0, 0)
    fails = refused >= _FEW and refused >= _SHARE * all_of_them
    if not fails and not number:
        return None
    say = fail if fails else warn
    text = f"{number} from {source} were refused for their signature within the hour"
    text += f", and {refused} of {all_of_them} for any reason within 15 minutes (table webhook_deliveries)"
    last = await clues.latest_explained(connection, source, _WITHIN, tried) if number else None
    if last is None:
        return say(AREA, text, "see that they come from the provider, and their `reason` in that table", "signature-failures")
    _, found = last
    return say(AREA, f"{text}; the last one: {found.cause}, {found.detail}", found.advice, "signature-failures")
