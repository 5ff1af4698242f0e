"""The topology of the system: the readers and writers of each topic, and the progress of every worker."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.errors import GatewayError, Reason
from gateway.parameters import query_of
from outbox.offsets import Offsets
from runtime.kafka import Cluster
from topology.page import CONTENT_SECURITY, render
from topology.survey import Survey
from topology.view import Kafka, Topology, declared

Source = Literal["kafka", "declared"]

SURVEY: Final = web.AppKey("survey", Survey)

_PATIENCE: Final = timedelta(seconds=3)
_HEADERS: Final = {"Cache-Control": "no-store", "Vary": "Accept"}


class TopologyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of the figures."""

    source: Annotated[
        Source, Meta(description="`declared` returns the topology without querying Kafka: it has no offsets, and never fails.")
    ] = msgspec.field(default="kafka", name="from")


def survey_of(kafka: Cluster | None) -> Survey:
    """Return the survey of Kafka for the route; it sends no request before the first call."""
    return Survey(Offsets(kafka, _PATIENCE) if kafka else None)


async def topology(request: web.Request) -> web.Response:
    """
    Read the topology: agents, topics, partitions and the edges between them.

    Offsets and lag are those of Kafka at this moment. With `Accept: text/html` the answer is a page with a drawing; while
    Kafka does not answer, the page shows the declared topology with status 503.
    """
    seen = await _seen(request)
    if "text/html" in request.headers.get("Accept", ""):
        page = render(seen, title="the whole system", fresh=False)
        status = HTTPStatus.OK if seen.kafka.reason is None else HTTPStatus.SERVICE_UNAVAILABLE
        headers = _HEADERS | {"Content-Security-Policy": CONTENT_SECURITY}
        return web.Response(text=page, content_type="text/html", status=status, headers=headers)
    if seen.kafka.reason is not None:
        raise GatewayError(Reason.KAFKA_UNAVAILABLE, f"{seen.kafka.detail}; from=declared returns the graph without offsets")
    return web.Response(body=msgspec.json.encode(seen), content_type="application/json", headers=_HEADERS)


async def _seen(request: web.Request) -> Topology:
    if query_of(request, TopologyQuery).source == "declared":
        return declared(datetime.now(UTC), Kafka(live=False))
    return await request.app[SURVEY].now()
