"""The pages about the process itself: the metrics for Prometheus, and the contract."""

from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def metrics(_: web.Request) -> web.Response:
    """
    Read the metrics of the gateway.

    The answer is in the text format of Prometheus; docs/metrics.md describes every metric.
    """
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


CONTRACT: Final = web.AppKey("contract", bytes)


async def contract(request: web.Request) -> web.Response:
    """
    Read this document.

    It is OpenAPI 3.1 and covers both listeners.
    """
    return web.Response(body=request.app[CONTRACT], content_type="application/json")
