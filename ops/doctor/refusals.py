"""Examines recent deliveries: those refused for their signature, with the cause of the last one, and the modes of the others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg

from gateway.settings import GatewaySettings
from operations.deliveries import circumstances
from operations.endpoints.trial import KIND
from ops.doctor.findings import fail, ok, warn
from ops.doctor.store import LIMIT
from projections.senders import Senders
from runtime.ids import first_id_of
from runtime.sessions import connect_async
from runtime.settings import SettingsError
from schemas.endpoints import place_of
from schemas.providers import providers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from psycopg import AsyncConnection

    from ops.doctor.findings import Finding
    from schemas.providers import Provider

AREA: Final = "webhooks"
_WITHIN: Final = timedelta(hours=1)
_RECENTLY: Final = timedelta(minutes=15)
_FEW: Final = 3
_SHARE: Final = 0.5
_RECENT: Final = """
select count(*) filter (where outcome = 'rejected'), count(*) from webhook_deliveries
where id >= %s and source = %s and endpoint is not distinct from %s
"""
_REFUSED: Final = """
select source, endpoint, count(*) filter (where starts_with(reason, 'signature_') or starts_with(reason, 'timestamp_'))
from webhook_deliveries where id >= %s and outcome = 'rejected' group by 1, 2 order by 1, 2 nulls first
"""


def check_refusals(environ: Mapping[str, str]) -> Iterable[Finding]:
    try:
        settings = GatewaySettings.load(environ)
    except SettingsError:
        return []  # reported among the settings
    try:
        return asyncio.run(_check(settings))
    except psycopg.errors.QueryCanceled:
        return [warn(AREA, "Postgres did not report refused deliveries in time", "run the doctor again", "postgres-down")]
    except psycopg.Error:
        return []  # reported by the examination of Postgres


async def _check(settings: GatewaySettings) -> list[Finding]:
    since = first_id_of(datetime.now(UTC) - _WITHIN)
    async with await connect_async(settings.database_url, name="doctor", statement=LIMIT) as connection:
        refused = await (await connection.execute(_REFUSED, (since,))).fetchall()
        senders = Senders.of(settings)
        await senders.refresh(connection)
        tried = circumstances.inputs_of(settings, senders)
        looks = [await _look(connection, tried, place_of(source, endpoint), number) for source, endpoint, number in refused]
        found = [finding for finding in looks if finding]
        found = found or [ok(AREA, "none was refused for its signature within the hour")]
        found += _without_secrets(senders)
        for provider in providers():
            if provider.mode_setting and (live := tried.sources.get(provider.name)):
                found += judge_modes(provider, live.source.mode, *await _modes_of(connection, provider.name))
        for place in senders.endpoints:
            found += judge_mode_of(place, tried.sources[place].source.mode, *await _modes_of(connection, place))
    return found


def _without_secrets(senders: Senders) -> Iterator[Finding]:
    """Report the endpoints that cannot verify their deliveries."""
    for place, endpoint in senders.endpoints.items():
        if endpoint.secrets:
            continue
        if senders.endpoints.is_uncertain(place):
            act = "put the key that seals it into SECRET_KEYS, before or after the others"
            yield fail(AREA, f"the secrets of the endpoint {place} cannot be opened, and its deliveries are answered by 503", act)
        else:
            act = f"add the one that {endpoint.provider} shows: tallyhook endpoints add-secret {place} --own"
            yield warn(AREA, f"the endpoint {place} has no secret, and refuses every delivery", act)


async def _look(connection: psycopg.AsyncConnection, tried: circumstances.Inputs, place: str, number: int) -> Finding | None:
    recent = first_id_of(datetime.now(UTC) - _RECENTLY)
    source, _, endpoint = place.partition("/")
    row = await (await connection.execute(_RECENT, (recent, source, endpoint or None))).fetchone()
    refused, all_of_them = row or (0, 0)
    fails = refused >= _FEW and refused >= _SHARE * all_of_them
    if not fails and not number:
        return None
    report = fail if fails else warn
    text = f"{number} from {place} were refused for their signature within the hour"
    text += f", and {refused} of {all_of_them} for any reason within 15 minutes (table webhook_deliveries)"
    last = await circumstances.explain_latest(connection, place, _WITHIN, tried) if number else None
    if last is None:
        return report(
            AREA, text, "check that they come from the provider, and read their `reason` in that table", "signature-failures"
        )
    _, found = last
    return report(AREA, f"{text}; the last one: {found.cause}, {found.detail}", found.advice, "signature-failures")


_OF_MODES: Final = timedelta(days=1)
# The latest are enough; a busy day has millions.
_SEEN: Final = """
select count(*) filter (where livemode), count(*) filter (where not livemode)
from (select livemode from webhook_deliveries
      where source = %s and endpoint is not distinct from %s and id >= %s and outcome in ('accepted', 'ignored')
        and type <> %s
      order by id desc limit 100000) d
"""


async def _modes_of(connection: AsyncConnection, place: str) -> tuple[int, int]:
    """Count the live and the test events that came to a place within the day, without those of `endpoints test`."""
    source, _, endpoint = place.partition("/")
    values = (source, endpoint or None, first_id_of(datetime.now(UTC) - _OF_MODES), KIND)
    live, test = await (await connection.execute(_SEEN, values)).fetchone() or (0, 0)
    return live, test


def judge_mode_of(place: str, wanted: str, live: int, test: int) -> Iterator[Finding]:
    """Judge the mode of an endpoint by the events of the last day; the mode `any` means both."""
    other, right = (live, test) if wanted == "test" else (test, live)
    if wanted != "any" and other and not right:
        fitting = "live" if wanted == "test" else "test"
        act = f"if it is for those, tallyhook endpoints put {place} --mode {fitting}, and replay them"
        text = f"the endpoint {place} is for {wanted} events, and all {other} that came within the day are of the other mode"
        yield warn(AREA, text, act, "test-and-live")


def judge_modes(provider: Provider, wanted: str, live: int, test: int) -> Iterator[Finding]:
    """Judge the mode that is set, `wanted`, by the number of live and test events that came within the day."""
    setting, events = provider.mode_setting, f"events of {provider.title} that came within the day"
    if wanted == "any" and live and test:
        act = f"set {setting}=live, or test, on every gateway: events of the other mode are then stored, and ignored"
        text = f"live and test events of {provider.title} came within the day ({live} and {test}), and {setting}=any handles both"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "test" and live:
        act = f"if this system is for real payments, set {setting}=live, restart the gateways and replay what was ignored"
        text = f"{setting}=test ignores {live} live {events}"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test and not live:
        act = f"give the live endpoint's signing secret to {provider.secret_setting}, or set {setting}=test"
        text = f"{setting}=live, and all {test} {events} are test ones"
        yield warn("webhooks", text, act, "test-and-live")
    elif wanted == "live" and test:
        yield ok("webhooks", f"{setting}=live ignores {test} test {events}")
