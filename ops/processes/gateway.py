"""The gateway process: its composition root."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Final

import structlog
import uvloop
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway import listener
from gateway.connections import Limits, Memory
from gateway.listener import Listener
from gateway.secrets.tls import internal_context
from gateway.server import Runner
from gateway.settings import GatewaySettings
from gateway.siblings import LABEL
from ops.processes.applications import build_internal, build_own, build_public, opened
from ops.processes.siblings import Place, divide
from outbox.secret_changes import report_to_audit_log
from runtime.build import register_build
from runtime.certificates import expiry_of
from runtime.logs import configure_logs
from runtime.process import leave_within, stop_signals
from runtime.secret_watch import SecretWatch
from runtime.startup import tune_gc
from runtime.tracing import configure_spans

log = structlog.get_logger()

_PATIENCE: Final = 10.0
"""Seconds for the last commits, after the delay and a grace for each listener: a silent Postgres delays the end no longer."""

_RESERVE: Final = 5.0
"""Seconds beyond that, after which a process of several is killed."""


def main(environ: Mapping[str, str]) -> int:
    """
    Run one gateway until SIGTERM, SIGINT or SIGHUP; returns the exit code.

    Raises SettingsError.
    """
    settings = GatewaySettings.load(environ)
    configure_logs("gateway")
    try:
        if settings.gateway_processes == 1:
            return _serve(settings, environ)
        place = divide(settings, _patience(settings) + _RESERVE)
        return place if isinstance(place, int) else _serve(settings, environ, place)
    except OSError as error:
        log.error("gateway_failed", reason="cannot_listen", error=str(error))  # noqa: TRY400  # an address in use needs no stack trace
        return 1


def _serve(settings: GatewaySettings, environ: Mapping[str, str], place: Place | None = None) -> int:
    """Serve until a stop is requested, in this place if the gateway has several processes; returns the exit code."""
    if place:
        bind_contextvars(**{LABEL: place.number})
    register_build("gateway")
    configure_spans("gateway", environ)
    watch = SecretWatch((settings,), environ, report_to_audit_log("gateway", settings.database_url))
    try:
        watch.start()
        _look_at_certificate(settings)
        uvloop.run(run(settings, internal_context(settings), place))
    finally:
        watch.stop()
    return 0


def _patience(settings: GatewaySettings) -> float:
    """Seconds from a request to stop until the process ends, whatever it still waits for."""
    return (settings.shutdown_delay + 2 * settings.shutdown_grace).total_seconds() + _PATIENCE


def _look_at_certificate(settings: GatewaySettings) -> None:
    """Log an error if the internal listener's certificate has expired: its clients refuse it, while webhooks still come in."""
    until = settings.internal_tls_cert and expiry_of(settings.internal_tls_cert)
    if until and until <= datetime.now(UTC):
        error = (
            f"INTERNAL_TLS_CERT has expired, on {until:%Y-%m-%d %H:%M} UTC: the internal listener's clients refuse it; renew it"
        )
        log.error("certificate_expired", reason="certificate_expired", error=error)


async def run(settings: GatewaySettings, secure: ssl.SSLContext | None = None, place: Place | None = None) -> None:
    """
    Serve both listeners, the internal one by TLS if `secure` is given, until a stop is requested.

    Then report unready for SHUTDOWN_DELAY, so that clients are sent to other gateways, and still serve requests. Then accept no
    new ones, commit and answer those under way, and close. A second request to stop ends the delay.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    _follow_signals(stop, hurry, place)
    files = listener.raise_limit()
    most = listener.connection_limits(files, settings.public_connections_max, settings.internal_connections_max)
    async with AsyncExitStack() as exits:
        resources = await exits.enter_async_context(opened(settings, place.siblings if place else None))
        memory = Memory(settings.body_memory)
        public = _runner(build_public(settings, resources), "public", most.public, settings, memory)
        internal = _runner(build_internal(settings, resources), "internal", most.internal, settings, memory)
        # The last one entered is closed first: the public listener before the internal one.
        if place:
            await _answer_siblings(exits, build_own(resources), place)
        internal_url = await _listen(
            exits, internal, settings.internal_host, settings.internal_port, sockets=place and place.internal, secure=secure
        )
        public_url = await _listen(exits, public, settings.public_host, settings.public_port, sockets=place and place.public)
        tune_gc()
        log.info("gateway_started", public=public_url, internal=internal_url, connections=most._asdict())
        await stop.wait()
        leave_within(_patience(settings))
        resources.stopping.set()
        log.info("gateway_stopping", unready_for=settings.shutdown_delay.total_seconds())
        with suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), settings.shutdown_delay.total_seconds())
    log.info("gateway_stopped")


def _follow_signals(stop: asyncio.Event, hurry: asyncio.Event, place: Place | None) -> None:
    def request() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in stop_signals():
        # A signal from a terminal reaches every process of a gateway, and comes by the line as well: it must not count twice.
        asyncio.get_running_loop().add_signal_handler(number, stop.set if place else request)
    if place:
        place.follow(stop, hurry)


async def _answer_siblings(exits: AsyncExitStack, app: web.Application, place: Place) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    exits.push_async_callback(runner.cleanup)
    await runner.setup()
    for each in place.own:
        await web.SockSite(runner, each).start()


def _runner(app: web.Application, listener: str, connections: int, settings: GatewaySettings, memory: Memory) -> Runner:
    return Runner(
        app,
        listener=listener,
        limits=Limits(
            connections,
            head=settings.head_timeout.total_seconds(),
            body=settings.body_timeout.total_seconds(),
            answer=settings.answer_timeout.total_seconds(),
            idle=settings.idle_timeout.total_seconds(),
        ),
        memory=memory,
        max_body_bytes=settings.max_body_bytes,
        shutdown_timeout=settings.shutdown_grace.total_seconds(),
    )


async def _listen(
    exits: AsyncExitStack,
    runner: Runner,
    host: str,
    port: int,
    *,
    sockets: list[socket.socket] | None,
    secure: ssl.SSLContext | None = None,
) -> str:
    exits.push_async_callback(runner.cleanup)
    await runner.setup()
    listener = Listener(runner.connections, runner.serve, secure)
    exits.push_async_callback(listener.close)
    bound = listener.listen(sockets) if sockets else await listener.open(host, port)
    return f"{'https' if secure else 'http'}://{host}:{bound}"
