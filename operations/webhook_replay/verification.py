"""
The decision on each delivery of a replay: send its event again, or verify it again if it was rejected.

It is verified with the present secrets, and with its time of arrival as the current time.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg import AsyncConnection

from gateway.errors import GatewayError
from gateway.errors import Reason as GatewayReason
from gateway.webhooks.sources import Arrival, Headers
from gateway.webhooks.sources.live import LiveSource
from operations.errors import Reason
from operations.webhook_replay import store as work
from operations.webhook_replay.store import Recovery, StoredDelivery, Verdict
from outbox.append import Received
from outbox.erased import is_erased
from runtime.errors import Failure
from runtime.ids import new_id, time_of
from runtime.tracing import Trace, new_trace

log = structlog.get_logger()

Sources = Mapping[str, LiveSource]


class NotRecovered(Failure[GatewayReason | Reason]):
    """The delivery still fails verification or parsing; the reason may be the gateway's."""

    def __init__(self, reason: GatewayReason | Reason) -> None:
        super().__init__(reason, reason)


class Judged(NamedTuple):
    """A sorted batch: events to send again, deliveries that verify now, and final verdicts."""

    again: list[StoredDelivery]
    recovered: list[Recovery]
    verdicts: list[Verdict]


async def judge(deliveries: Sequence[StoredDelivery], sources: Sources) -> Judged:
    """Sort a batch outside of a transaction; it yields between deliveries, since signatures take time and requests come first."""
    judged = Judged([], [], [])
    for each in deliveries:
        if each.outcome != "rejected":
            _judge_event(each, sources, judged)
        else:
            _judge_rejected(each, sources, judged)
            await asyncio.sleep(0)
    return judged


async def claim(
    connection: AsyncConnection, recovered: Iterable[Recovery], sources: Sources
) -> tuple[list[Recovery], list[Verdict]]:
    """Return the deliveries that their source accepts, in the open transaction, and the verdicts on the others."""
    passed: list[Recovery] = []
    verdicts: list[Verdict] = []
    for kept, received in recovered:
        hold = sources[kept.place].claim
        try:
            if hold:
                await hold(connection, _headers(kept.headers), received)
        except GatewayError as error:
            verdicts.append(Verdict(kept.n, "failed", error.reason))
        else:
            passed.append((kept, received))
    return passed, verdicts


def verify_again(sources: Sources, refused: StoredDelivery) -> Received:
    """
    Return the delivery as intake would receive it, in its own trace, with a new id.

    Tokens are never stored, so a delivery with a wrong token stays refused. Raises only NotRecovered.
    """
    live = sources.get(refused.place)
    if live is None:
        raise NotRecovered(Reason.SOURCE_UNKNOWN)
    if refused.body is None:
        raise NotRecovered(Reason.BODY_NOT_KEPT)
    if is_erased(refused.body):
        raise NotRecovered(Reason.ERASED)
    if refused.reason == GatewayReason.TOKEN_WRONG:
        raise NotRecovered(GatewayReason.TOKEN_WRONG)
    headers = _headers(refused.headers)
    try:
        secret = live.source.verify(refused.body, headers, live.secrets, time_of(refused.id).timestamp())
        trace = Trace(refused.trace_id, new_trace().span_id)
        return live.source.receive(Arrival(new_id(), trace.traceparent, secret.id, refused.body, headers))
    except GatewayError as error:
        raise NotRecovered(error.reason) from error
    except Exception as error:  # an error in one delivery fails that one, not the replay
        log.exception(
            "delivery_not_judged", reason=GatewayReason.INTERNAL_ERROR, delivery_id=str(refused.id), source=refused.source
        )
        raise NotRecovered(GatewayReason.INTERNAL_ERROR) from error


def _judge_event(kept: StoredDelivery, sources: Sources, judged: Judged) -> None:
    """Leave out an event that no worker handles: if it got a mark, a later release that handles it would skip it."""
    live = sources.get(kept.place)
    if live and (reason := live.source.ignores(kept.type, kept.livemode)):
        judged.verdicts.append(Verdict(kept.n, "unchanged", reason))
    else:
        judged.again.append(kept)


def _judge_rejected(kept: StoredDelivery, sources: Sources, judged: Judged) -> None:
    if not kept.trace_id:
        judged.verdicts.append(Verdict(kept.n, "failed", work.OUTSIDE_RETENTION))
    elif kept.recovered_as is not None:
        judged.verdicts.append(Verdict(kept.n, "unchanged"))
    else:
        try:
            judged.recovered.append((kept, verify_again(sources, kept)))
        except NotRecovered as error:
            judged.verdicts.append(Verdict(kept.n, "failed", error.reason))


def _headers(kept: Mapping[str, str]) -> Headers:
    return CIMultiDictProxy(CIMultiDict(kept))
