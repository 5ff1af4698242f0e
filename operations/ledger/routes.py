"""The ledger: where everything is that came in, each figure with a link to the rows behind it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.answers import answer
from gateway.errors import GatewayError, Reason
from gateway.parameters import query_of
from gateway.postgres import reading
from operations.errors import OperationError
from operations.errors import Reason as Why
from operations.ledger import books
from operations.ledger.books import Ledger, SourceLedger
from operations.lost_records import store as lost_search
from operations.lost_records.store import OpenLoss

_SPAN: Final = timedelta(days=1)
_DELIVERIES: Final = "/v1/admin/webhooks/deliveries"
_ROWS: Final = {
    "received": {},
    "rejected": {"outcome": "rejected"},
    "duplicates": {"outcome": "duplicate"},
    "ignored": {"settled": "ignored"},
    "processed": {"settled": "processed"},
    "inFlight": {"settled": "inFlight"},
    "deadLettered": {"settled": "deadLettered"},
    "missing": {"settled": "missing"},
}
"""By figure: what lists its rows in the delivery log."""


class LedgerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The period of a ledger."""

    since: Annotated[datetime, Meta(description="The period's beginning; 24 hours before its end by default.")] | None = (
        msgspec.field(default=None, name="from")
    )
    until: Annotated[datetime, Meta(description="The period's end; now by default.")] | None = msgspec.field(
        default=None, name="to"
    )


class SourceView(SourceLedger, frozen=True, kw_only=True, rename="camel"):
    """`links` lead to the deliveries behind the figures."""

    links: dict[str, str]


class LedgerView(Ledger, frozen=True, kw_only=True):
    """`lostByKafka` are gaps in topics, of whatever time, of which not all has been handled yet."""

    lost_by_kafka: list[OpenLoss] = msgspec.field(name="lostByKafka")
    sources: list[SourceView]  # type: ignore[assignment]  # a list of the same with links


async def ledger(request: web.Request) -> web.Response:
    """
    Account for everything that came in within a period.

    received = rejected + duplicates + ignored + processed + inFlight + deadLettered; `balanced` says whether both sides agree.
    """
    query = query_of(request, LedgerQuery)
    end = query.until or datetime.now(UTC)
    begin = query.since or end - _SPAN
    try:
        async with reading(request) as connection:
            found, losses = await books.read(connection, begin, end), await lost_search.open_losses(connection)
    except OperationError as error:
        reason = Reason.PERIOD_NOT_KEPT if error.reason is Why.PERIOD_NOT_KEPT else Reason.QUERY_MALFORMED
        raise GatewayError(reason, str(error)) from error
    return answer(_view(found, losses))


def _view(found: Ledger, losses: list[OpenLoss]) -> LedgerView:
    fields = {name: getattr(found, name) for name in Ledger.__struct_fields__ if name != "sources"}
    return LedgerView(**fields, lost_by_kafka=losses, sources=[_with_links(source, found) for source in found.sources])


def _with_links(source: SourceLedger, found: Ledger) -> SourceView:
    period = {"from": found.from_.isoformat(), "to": found.to.isoformat()}
    links = {figure: f"{_DELIVERIES}?{urlencode({'source': source.source, **rows, **period})}" for figure, rows in _ROWS.items()}
    return SourceView(**msgspec.structs.asdict(source), links=links)
