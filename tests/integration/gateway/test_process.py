"""The process starts, logs its addresses, and stops on a signal without losing an accepted delivery."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tests.gateways import ADMIN, SECRET, SERVICE

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_RUN: Final = "import os, sys; from ops.processes.gateway import main; sys.exit(main(os.environ))"


async def start(database_url: str, **changes: str) -> Process:
    environ = {
        "DATABASE_URL": database_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "INTERNAL_API_TOKEN": SERVICE["X-Internal-Token"],
        "ADMIN_API_TOKEN": ADMIN["X-Internal-Token"],
        "PUBLIC_PORT": "0",
        "INTERNAL_PORT": "0",
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-c", _RUN, env=environ | changes, stderr=asyncio.subprocess.PIPE)


async def until_logged(process: Process, event: str) -> dict[str, Any]:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        logged: dict[str, Any] = msgspec.json.decode(line)
        if logged["event"] == event:
            return logged
    raise AssertionError(f"{event} was never logged")


async def test_it_stops_in_order_on_a_signal(database_url: str) -> None:
    process = await start(database_url)
    started = await until_logged(process, "gateway_started")
    assert started["public"].startswith("http://127.0.0.1:")
    assert started["internal"] != started["public"]
    process.send_signal(signal.SIGTERM)
    await until_logged(process, "gateway_stopped")
    assert await process.wait() == 0


async def test_an_address_in_use_is_one_line_and_a_failure(database_url: str) -> None:
    holder = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with holder:
        port = holder.sockets[0].getsockname()[1]
        process = await start(database_url, PUBLIC_PORT=str(port))
        failed = await until_logged(process, "gateway_failed")
        assert failed["reason"] == "cannot_listen"
        assert await process.wait() == 1
