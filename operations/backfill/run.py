"""
The backfill: records the events of each page of the provider's list that never arrived.

Events that arrived are not touched, so a second run records nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg import AsyncConnection, DataError
from psycopg.errors import ProgramLimitExceeded

from gateway.audit_log import note_command
from gateway.errors import GatewayError
from gateway.webhooks.sources import Arrival, Source
from gateway.webhooks.sources.stripe import STRIPE
from operations.backfill import store
from operations.backfill.stripe_api import Listed
from outbox.append import UNHANDLED, Received, Recorded
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.providers import ModeOrAny
from schemas.stripe import SOURCE

ORIGIN: Final = "X-Tallyhook-Origin"
"""The header of a stored delivery that names how it came, if not as a webhook."""
_FAILED_SHOWN: Final = 100
_TRIES: Final = 3


class Failed(NamedTuple):
    """An event that could not be recorded, by the provider's id."""

    id: str
    reason: str


class Report(msgspec.Struct, kw_only=True, rename="camel"):
    """
    The result of a backfill: `seen` = `known` + `missing` + `ignored` + `failed`.

    `missing` events never arrived, and are recorded unless it is a dry run; `put_in` of them have been. `ignored` events are of
    types that no worker handles and the request does not name, or of the unwanted mode; `ignored_types` counts them by type.
    """

    since: datetime
    until: datetime
    dry_run: bool
    seen: int = 0
    known: int = 0
    missing: int = 0
    put_in: int = 0
    ignored: int = 0
    failed: int = 0
    ignored_types: dict[str, int] = {}
    failures: list[Failed] = []


class BackfillRequest(NamedTuple):
    """The request: events of this mode, of `types` or of all handled types; at most `rate` events a second are recorded."""

    since: datetime
    until: datetime
    types: Sequence[str] = ()
    rate: float = 100.0
    dry_run: bool = False
    operator: str = ""
    mode: ModeOrAny = "any"


Progress = Callable[[int], None]
"""Called after each page with the time of its oldest event, in Unix seconds."""


async def backfill(
    connection: AsyncConnection,
    pages: Iterator[list[Listed]],
    request: BackfillRequest,
    report: Report,
    progress: Progress = lambda _: None,
) -> Report:
    """
    Record the missing events of all pages, on a connection in autocommit mode. Raises the errors of `pages`.

    The report is updated page by page, so it is right wherever this stops.
    """
    if not request.dry_run:
        await note_command(connection, "tallyhook backfill stripe", request.operator)
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        began = asyncio.get_running_loop().time()
        missing = await _find_missing(connection, page, request, report)
        if not request.dry_run:
            await _record_missing(connection, missing, report)
            await asyncio.sleep(max(0.0, len(missing) / request.rate - (asyncio.get_running_loop().time() - began)))
        if page:
            progress(page[-1].created)
    return report


async def _find_missing(
    connection: AsyncConnection, page: Sequence[Listed], request: BackfillRequest, report: Report
) -> list[Received]:
    source = STRIPE._replace(mode=request.mode)
    known = await store.find_known(connection, SOURCE, [listed.id for listed in page])
    wanted = [listed for listed in page if _is_wanted(source.ignores(listed.type, listed.livemode), request)]
    ignored = Counter(listed.type for listed in page) - Counter(listed.type for listed in wanted)
    report.seen += len(page)
    report.ignored += ignored.total()
    report.ignored_types = dict(sorted((Counter(report.ignored_types) + ignored).items()))
    missing: list[Received] = []
    for listed in wanted:
        if listed.id in known:
            report.known += 1
        elif received := _received(source, listed, report):
            missing.append(received)
    report.missing += len(missing)
    return missing


def _is_wanted(ignored: str | None, request: BackfillRequest) -> bool:
    """An event of a requested type is stored even if no worker handles it."""
    return ignored is None or (ignored == UNHANDLED and bool(request.types))


def _received(source: Source, listed: Listed, report: Report) -> Received | None:
    """Return the event as the webhook route would have received it, but without a signature."""
    arrival = Arrival(new_id(), new_trace().traceparent, None, listed.body, CIMultiDictProxy(CIMultiDict()))
    try:
        return source.receive(arrival)
    except GatewayError as error:
        _fail(report, listed.id, error.reason)
        return None


async def _record_missing(connection: AsyncConnection, missing: Sequence[Received], report: Report) -> None:
    waiting = list(missing)
    for _ in range(_TRIES):
        if not waiting:
            return
        outcomes = await _record_batch(connection, waiting, report)
        report.put_in += sum(outcome is not None and outcome.outcome != "duplicate" for outcome in outcomes.values())
        arrived = sum(outcome is not None and outcome.outcome == "duplicate" for outcome in outcomes.values())
        report.known += arrived
        report.missing -= arrived
        waiting = [received for received in waiting if outcomes.get(received.provider_event_id, ...) is None]
    for received in waiting:
        report.missing -= 1
        _fail(report, received.provider_event_id, "intake_undecided")


async def _record_batch(connection: AsyncConnection, batch: Sequence[Received], report: Report) -> dict[str, Recorded | None]:
    """Return the outcomes by the provider's event id; if Postgres refuses an event, only that one is counted as failed."""
    origin = {ORIGIN: "backfill"}
    try:
        outcomes = await store.record_missing(connection, batch, origin)
    except (DataError, ProgramLimitExceeded, ValueError):
        if len(batch) == 1:
            report.missing -= 1
            _fail(report, batch[0].provider_event_id, "event_unstorable")
            return {}
        middle = len(batch) // 2
        first = await _record_batch(connection, batch[:middle], report)
        return first | await _record_batch(connection, batch[middle:], report)
    return {received.provider_event_id: outcome for received, outcome in zip(batch, outcomes, strict=True)}


def _fail(report: Report, event_id: str, reason: str) -> None:
    report.failed += 1
    if len(report.failures) < _FAILED_SHOWN:
        report.failures.append(Failed(event_id, reason))
