"""The gateway process: its composition root."""

import asyncio
import signal
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import structlog
import uvloop
from aiohttp import web

from gateway.app import build_internal, build_public, opened
from gateway.server import Runner
from gateway.settings import GatewaySettings
from gateway.tls import internal_context
from runtime import collector
from runtime.build import tell_build
from runtime.logs import configure_logs
from runtime.spans import configure_spans

log = structlog.get_logger()

_BACKLOG: Final = 1024  # connections that the kernel holds for us while the loop is busy


def main(environ: Mapping[str, str]) -> int:
    """
    Run one gateway until SIGTERM or SIGINT; returns the exit code.

    Raises SettingsError.
    """
    settings = GatewaySettings.load(environ)
    configure_logs("gateway")
    tell_build("gateway")
    configure_spans("gateway", environ)
    try:
        secure = internal_context(settings)
    except OSError as error:
        log.error("gateway_failed", reason="tls_unusable", error=str(error))  # noqa: TRY400  # a wrong file needs no stack trace
        return 1
    try:
        uvloop.run(run(settings, secure))
    except OSError as error:
        log.error("gateway_failed", reason="cannot_listen", error=str(error))  # noqa: TRY400  # an address in use needs no stack trace
        return 1
    return 0


async def run(settings: GatewaySettings, secure: ssl.SSLContext | None = None) -> None:
    """
    Serve both listeners, the internal one by TLS where `secure` is given, until asked to stop.

    Then take nothing new, answer what is under way, commit it, and close.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as exits:
        resources = await exits.enter_async_context(opened(settings))
        grace = settings.shutdown_grace.total_seconds()
        public = Runner(build_public(settings, resources), shutdown_timeout=grace)
        internal = Runner(build_internal(settings, resources), shutdown_timeout=grace)
        # The last one entered is the first one left: the world is shut out before our own services are.
        internal_url = await _listen(exits, internal, settings.internal_host, settings.internal_port, secure)
        public_url = await _listen(exits, public, settings.public_host, settings.public_port)
        collector.relax()
        log.info("gateway_started", public=public_url, internal=internal_url)
        await stop.wait()
        log.info("gateway_stopping")
    log.info("gateway_stopped")


async def _listen(exits: AsyncExitStack, runner: Runner, host: str, port: int, secure: ssl.SSLContext | None = None) -> str:
    exits.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=secure).start()
    return f"{'https' if secure else 'http'}://{host}:{runner.addresses[0][1]}"
