"""The HTTP server, which answers even malformed HTTP with a problem, and waits for no client without a limit."""

import asyncio
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.connections import Connections, Guest, Limits, Memory, Phase
from gateway.keys import REFUSAL_LOG
from gateway.problems import of_http, response_of
from gateway.refusal_log import RefusalLog
from runtime.ids import new_id

_MAX_BODY_BYTES: Final = 262_144
_MEMORY: Final = 64 * 1024 * 1024


class _Connection(RequestHandler):
    """One client's connection, which records at each step what it waits for."""

    __slots__ = ("_connections", "_guest", "_refusals")

    def __init__(self, connections: Connections, refusals: RefusalLog, guest: Guest, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._refusals = refusals
        self._guest = guest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._guest.line = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from it
        self._guest.phase = Phase.IDLE
        self._guest.began = self._connections.now()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.leave(self._guest)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        guest = self._guest
        if data:  # aiohttp calls this without data to continue with its buffer
            if guest.refused is not None:
                return
            if guest.phase is Phase.IDLE:
                guest.phase = Phase.HEAD
                guest.began = self._connections.now()
            self._connections.count_received(guest, len(data))
        super().data_received(data)

    def pause_writing(self) -> None:
        self._guest.stuck = self._connections.now()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._guest.stuck = None
        super().resume_writing()

    def begin(self, payload: StreamReader) -> None:
        """Record that the head of a request has arrived."""
        self._guest.phase = Phase.REQUEST
        self._guest.payload = payload
        self._guest.began = self._connections.now()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """
        Refuse a request that could not be parsed, or that failed outside every handler.

        aiohttp would log a stack trace for each line of garbage, which lets a stranger fill the disk, and quote it in the answer.
        """
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is being sent already")
        error = of_http(status)
        trace_id = new_id().hex
        self._refusals.note(error.reason, request.remote, error=type(exc).__name__, trace_id=trace_id)
        response = response_of(error, trace_id)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; a refusal that aiohttp raised outside the middlewares is put in our words first."""
        if isinstance(resp, web.HTTPException):
            resp = response_of(of_http(resp.status), new_id().hex)
        finished = await super().finish_response(request, resp, start_time)
        self._connections.answered(self._guest)
        if self._guest.refused is not None:
            self.force_close()  # the rest of the body is not read
        return finished


class _Server(web.Server):
    def __init__(self, connections: Connections, refusals: RefusalLog, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._guests = connections
        self._refusals = refusals
        self._make = self.request_factory
        self.request_factory = self._begin

    def __call__(self) -> RequestHandler:
        return self.serve(self._guests.enter("unknown"))

    def serve(self, guest: Guest) -> RequestHandler:
        """The protocol of an accepted connection."""
        return _Connection(self._guests, self._refusals, guest, self, loop=self._loop, **self._kwargs)

    def _begin(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        assert isinstance(protocol, _Connection)  # noqa: S101  # as made above
        protocol.begin(payload)
        return self._make(message, payload, protocol, writer, task)


class Runner(web.AppRunner):
    """
    Serves one application: raw bodies as they were received, no access log (accepted requests are in the delivery log).

    It closes the connections of clients that take too long; the listener bounds the number of connections.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        listener: str = "public",
        limits: Limits | None = None,
        memory: Memory | None = None,
        max_body_bytes: int = _MAX_BODY_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(app, access_log=None, auto_decompress=False, lingering_time=2.0, **options)
        self.connections = Connections(
            listener,
            limits or Limits(),
            memory or Memory(_MEMORY),
            max_body_bytes=max_body_bytes,
            now=asyncio.get_running_loop().time,
        )
        self._refusals = app[REFUSAL_LOG] = RefusalLog(self.connections.now)
        self._timer: asyncio.TimerHandle | None = None

    def serve(self, guest: Guest) -> RequestHandler:
        """The protocol of a connection that was accepted elsewhere."""
        assert isinstance(self.server, _Server)  # noqa: S101  # once it is set up
        return self.server.serve(guest)

    async def setup(self) -> None:
        await super().setup()
        self._close_late()

    async def cleanup(self) -> None:
        await super().cleanup()
        if self._timer:
            self._timer.cancel()

    def _close_late(self) -> None:
        interval = self.connections.limits.check_interval
        self._timer = asyncio.get_running_loop().call_later(interval, self._close_late)
        self.connections.close_late()

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(
            self.connections,
            self._refusals,
            plain.request_handler,
            request_factory=plain.request_factory,
            loop=plain._loop,  # noqa: SLF001  # aiohttp has no public way to choose the connection's class; a test guards it
            **plain._kwargs,  # noqa: SLF001  # same
        )
