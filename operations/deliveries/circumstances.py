"""Reads the circumstances of a refused delivery from Postgres, and explains the refusal by them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from gateway.secrets.uses import LiveSecret, live_secrets
from gateway.settings import GatewaySettings
from gateway.webhooks.signatures import timestamp_of
from gateway.webhooks.sources.live import LiveSources
from operations.deliveries.explanation import Circumstances, Explanation, Traits, explain, header_of, not_rejected, traits_of
from operations.webhook_replay import store as work
from operations.webhook_replay.store import StoredDelivery
from operations.webhook_replay.verification import NotRecovered, Sources, verify_again
from projections.senders import Senders
from runtime.ids import first_id_of, time_of
from runtime.settings import Secret

_SKEW_OVER: Final = timedelta(hours=1)
_ACCEPTED_OVER: Final = timedelta(days=1)

_OUTCOME: Final = "select source, outcome, reason, livemode, endpoint from webhook_deliveries where id = %s"
_LAST: Final = """
select id from webhook_deliveries
where outcome = 'rejected' and source = %s and endpoint is not distinct from %s and id >= %s and body is not null
order by id desc limit 1
"""
_HEADERS: Final = """
select id, headers from webhook_deliveries
where outcome = 'rejected' and source = %s and id > %s and id <= %s and headers is not null
order by id desc limit 200
"""
_BODIES: Final = """
select o.data from webhook_deliveries d join outbox o on o.id = d.id
where d.source = %(source)s and d.outcome in ('accepted', 'ignored') and d.id > %(first)s and o.id > %(first)s
order by d.id desc limit 20
"""


class Inputs(NamedTuple):
    """The inputs of explanations: all live secrets, the sources of the gateway, and API keys, which sign no webhook."""

    secrets: Sequence[LiveSecret]
    sources: Sources
    api_keys: Sequence[Secret] = ()


def inputs_of(settings: GatewaySettings, senders: Senders) -> Inputs:
    """The inputs that a gateway with these settings, partners and endpoints has."""
    return Inputs(live_secrets(settings, senders), LiveSources(settings, senders), settings.stripe_api_key)


async def explain_delivery(connection: AsyncConnection, delivery_id: UUID, inputs: Inputs) -> Explanation | None:
    """Explain why this delivery was refused, or that it was not; None if the log does not contain it."""
    row = await (await connection.execute(_OUTCOME, (delivery_id,))).fetchone()
    if row is None:
        return None
    if row[1] != "rejected":
        return not_rejected(*row)
    refused = (await work.refused(connection, [delivery_id]))[delivery_id]
    return await explain_refused(connection, refused, inputs)


async def explain_refused(connection: AsyncConnection, refused: StoredDelivery, inputs: Inputs) -> Explanation:
    """Explain why it was refused; the guesses are tried in a thread, since they may take a second."""
    live = inputs.sources.get(refused.place)
    known = Circumstances(
        secrets=inputs.secrets,
        api_keys=inputs.api_keys,
        recoverable=_is_recoverable(inputs.sources, refused),
        skew=await _skew(connection, refused),
        accepted=await _accepted(connection, refused.source, refused.id),
        mode=live.source.mode if live else "any",
    )
    return await asyncio.to_thread(explain, refused, known)


async def latest_refusal(connection: AsyncConnection, place: str, inputs: Inputs) -> str:
    """Explain the latest refusal of the last hour at a place in a few words; empty if no refused delivery was kept."""
    last = await explain_latest(connection, place, timedelta(hours=1), inputs)
    if last is None:
        return ""
    delivery_id, found = last
    return f"the latest, {delivery_id}: {found.cause}, {found.detail}. {found.advice}"


async def explain_latest(
    connection: AsyncConnection, place: str, within: timedelta, inputs: Inputs
) -> tuple[UUID, Explanation] | None:
    """
    Explain the latest refused delivery within that time whose body was kept; None if there is none.

    A place is a source's plain path, or an endpoint of the source.
    """
    since = first_id_of(datetime.now(UTC) - within)
    source, _, endpoint = place.partition("/")
    row = await (await connection.execute(_LAST, (source, endpoint or None, since))).fetchone()
    found = await explain_delivery(connection, row[0], inputs) if row else None
    return (row[0], found) if row and found else None


def _is_recoverable(sources: Sources, refused: StoredDelivery) -> bool:
    try:
        verify_again(sources, refused)
    except NotRecovered:
        return False
    return True


async def _skew(connection: AsyncConnection, refused: StoredDelivery) -> float | None:
    first = first_id_of(time_of(refused.id) - _SKEW_OVER)
    rows = await (await connection.execute(_HEADERS, (refused.source, first, refused.id))).fetchall()
    signed = [(time_of(row[0]).timestamp(), timestamp_of(header_of(refused.source, row[1]))) for row in rows]
    late = [arrived - moment.seconds for arrived, moment in signed if moment is not None]
    return median(late) if late else None


async def _accepted(connection: AsyncConnection, source: str, until: UUID) -> frozenset[Traits]:
    first = first_id_of(time_of(until) - _ACCEPTED_OVER)
    rows = await (await connection.execute(_BODIES, {"source": source, "first": first})).fetchall()
    return frozenset(traits for row in rows if (traits := traits_of(bytes(row[0]))))
