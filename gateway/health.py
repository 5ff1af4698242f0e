"""The pages about the process itself: its health, the metrics for Prometheus, and the contract."""

from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.errors import GatewayError, Reason
from gateway.keys import DAYS, INTAKE, LOOPS, SCHEMA, SIBLINGS, STOPPING
from runtime.heartbeat import liveness


class Live(msgspec.Struct, frozen=True):
    """The process is alive."""

    live: bool = True  #: Always true.


class Ready(msgspec.Struct, frozen=True):
    """The gateway accepts webhooks."""

    ready: bool = True  #: Always true.
    process: str = ""  #: The kind of process that answers: `gateway`.
    system: str | None = None  #: Identifies the database; all gateways of one system return the same value.


async def live(request: web.Request) -> web.Response:
    """
    Check that the process is alive.

    Every background loop has made a round within the last minute. The check passes while Postgres is unavailable. A gateway
    of several processes is alive while all of them are.
    """
    if hung := liveness([*request.app[LOOPS]]).get("loops"):
        raise GatewayError(Reason.LOOP_HUNG, f"no round within a minute: {', '.join(hung)}")
    if not request.app[STOPPING].is_set():  # while a gateway stops, its processes end at different times
        await request.app[SIBLINGS].check(request.path)
    return web.json_response(body=msgspec.json.encode(Live()))


async def ready(request: web.Request) -> web.Response:
    """
    Check that the gateway should get webhooks.

    It can commit to Postgres, and it was not asked to stop. A gateway that is stopping fails this check and still serves
    requests. A gateway of several processes is ready once all of them are.
    """
    schema = request.app[SCHEMA]
    if request.app[STOPPING].is_set():
        raise GatewayError(Reason.STOPPING, "the gateway has been asked to stop")
    if schema.unfit:
        raise GatewayError.of(*schema.unfit)
    if schema.found is None or not request.app[INTAKE].ready:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is unavailable")
    if fault := request.app[DAYS].fault:
        raise GatewayError(*fault)
    await request.app[SIBLINGS].check(request.path)
    return web.json_response(body=msgspec.json.encode(Ready(process="gateway", system=schema.found.system)))


async def metrics(request: web.Request) -> web.Response:
    """
    Read the metrics of the gateway.

    The answer is in the text format of Prometheus; docs/metrics.md describes every metric. A gateway of several processes answers
    with the metrics of all of them, each under the label `gateway_process`.
    """
    text = await request.app[SIBLINGS].merge(request.path, generate_latest().decode())
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE_LATEST})


CONTRACT: Final = web.AppKey("contract", bytes)


async def contract(request: web.Request) -> web.Response:
    """
    Read this document.

    It is OpenAPI 3.1 and covers both listeners.
    """
    return web.Response(body=request.app[CONTRACT], content_type="application/json")
