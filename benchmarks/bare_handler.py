"""
A bare aiohttp handler, as a team writes it on its first day: it reads the body and inserts it, one event in each transaction.

Run it by `python -m benchmarks.bare_handler DATABASE_URL PORT`. It verifies nothing, has no outbox and no delivery log, and
notifies no relay. It is fast: it has uvloop, a pool of connections, a prepared statement and no access log.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Final

import msgspec
import uvloop
from aiohttp import web
from psycopg_pool import AsyncConnectionPool

TABLE: Final = "bare_events"
CREATE: Final = (
    f"create table if not exists {TABLE} (id text primary key, received_at timestamptz default now(), data bytea not null)"
)
_INSERT: Final = f"insert into {TABLE} (id, data) values (%b, %b) on conflict do nothing"
_CONNECTIONS: Final = 16
_RECEIVED: Final = b'{"received":true}'


class _Event(msgspec.Struct):
    id: str


async def serve(url: str, port: int) -> None:
    """Serve until SIGTERM."""
    decoder = msgspec.json.Decoder(_Event)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    options = {"autocommit": True, "prepare_threshold": 0}
    async with AsyncConnectionPool(url, min_size=_CONNECTIONS, max_size=_CONNECTIONS, kwargs=options, open=False) as pool:
        await pool.wait()

        async def receive(request: web.Request) -> web.Response:
            body = await request.read()
            async with pool.connection() as connection:
                await connection.execute(_INSERT, (decoder.decode(body).id, body))
            return web.Response(body=_RECEIVED, content_type="application/json")

        async def ready(_: web.Request) -> web.Response:
            return web.Response(text="ready")

        app = web.Application()
        app.router.add_post("/v1/webhooks/stripe", receive)
        app.router.add_get("/health/ready", ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
