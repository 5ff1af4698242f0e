"""The HTTP server itself, where even what is not a request at all is refused in our words."""

from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.problems import of_http, response_of
from runtime.ids import new_id

log = structlog.get_logger()


class _Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """
        Refuse what could not be parsed, or what failed outside every handler.

        aiohttp would log a stack trace a line of garbage, which lets a stranger fill the disk, and quote it in the answer.
        """
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        error = of_http(status)
        trace_id = new_id().hex
        log.info("request_refused", reason=error.reason, client=request.remote, error=type(exc).__name__, trace_id=trace_id)
        response = response_of(error, trace_id)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; a refusal that aiohttp raised outside the middlewares is put in our words first."""
        if isinstance(resp, web.HTTPException):
            resp = response_of(of_http(resp.status), new_id().hex)
        return await super().finish_response(request, resp, start_time)


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Serves one application: raw bodies as they came, no access log (accepted requests are in the delivery log)."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, access_log=None, auto_decompress=False, lingering_time=2.0, **options)

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            plain.request_handler,
            request_factory=plain.request_factory,
            loop=plain._loop,  # noqa: SLF001  # aiohttp has no public way to choose the connection's class; a test guards it
            **plain._kwargs,  # noqa: SLF001  # same
        )
