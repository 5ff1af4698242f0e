"""The route of the ledger, in which each figure has a link to its rows."""

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
from operations.ledger.books import EndpointLedger, Ledger, SourceLedger
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
"""The parameters of the delivery log that list the rows of a figure, by figure."""


class LedgerQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The period of a ledger."""

    since: (
        Annotated[datetime, Meta(description="The beginning of the period, included; by default 24 hours before its end.")] | None
    ) = msgspec.field(default=None, name="from")
    until: Annotated[datetime, Meta(description="The end of the period, excluded; by default now.")] | None = msgspec.field(
        default=None, name="to"
    )


class SourceView(SourceLedger, frozen=True, kw_only=True, rename="camel"):
    """The figures of one source, with links to the deliveries."""

    links: dict[str, str]  #: The deliveries behind each figure, as paths of the delivery log.


class EndpointView(EndpointLedger, frozen=True, kw_only=True, rename="camel"):
    """The figures of one endpoint, with links to the deliveries."""

    links: dict[str, str]  #: The deliveries behind each figure, as paths of the delivery log.


class LedgerView(Ledger, frozen=True, kw_only=True):
    """The account of the period."""

    lost_by_kafka: list[OpenLoss] = msgspec.field(name="lostByKafka")
    """Records that Kafka lost and that are not all handled yet, of any time."""
    sources: list[SourceView]  # type: ignore[assignment]  # a list of the same with links  #: The figures by source.
    endpoints: list[EndpointView]  # type: ignore[assignment]  # same
    """The figures of the endpoints that received anything; the rest of a source's figures is its plain path."""


async def ledger(request: web.Request) -> web.Response:
    """
    Read the account of all deliveries of a period.

    received = rejected + duplicates + ignored + processed + inFlight + deadLettered for each source; `balanced` is false if
    a delivery is unaccounted for.
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
    fields = {name: getattr(found, name) for name in Ledger.__struct_fields__ if name not in {"sources", "endpoints"}}
    return LedgerView(
        **fields,
        lost_by_kafka=losses,
        sources=[SourceView(**msgspec.structs.asdict(each), links=_links(found, source=each.source)) for each in found.sources],
        endpoints=[
            EndpointView(**msgspec.structs.asdict(each), links=_links(found, source=each.source, endpoint=each.endpoint))
            for each in found.endpoints
        ],
    )


def _links(found: Ledger, **place: str) -> dict[str, str]:
    """Return the links to the deliveries of a place, by figure."""
    period = {"from": found.from_.isoformat(), "to": found.to.isoformat()}
    return {figure: f"{_DELIVERIES}?{urlencode({**place, **rows, **period})}" for figure, rows in _ROWS.items()}
