"""The pages about the process itself: the metrics for Prometheus, and the contract."""

from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def metrics(_: web.Request) -> web.Response:
    """Everything this process counts, in the text format of Prometheus."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


CONTRACT: Final = web.AppKey("contract", bytes)


async def contract(request: web.Request) -> web.Response:
    """This document: OpenAPI 3.1, of both listeners."""
    return web.Response(body=request.app[CONTRACT], content_type="application/json")
