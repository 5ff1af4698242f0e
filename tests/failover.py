"""Two Redis servers at one address: the first becomes a replica of the second, and keeps its clients."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from redis.asyncio import Redis

from runtime.addresses import LOOPBACK
from tests.link import linked
from tests.ports import free_port
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers import StartStack


@asynccontextmanager
async def failing_over(own_stack: StartStack) -> AsyncIterator[tuple[str, Redis, Redis, Callable[[], Awaitable[None]]]]:
    """Yield the address, a client of each server, and the call after which the address leads to the second one."""
    old, new = own_stack("redis").redis, own_stack("redis").redis
    password, port = urlsplit(old.url).password or "", free_port()
    async with linked(port, old.port) as link, Redis.from_url(old.url) as first, Redis.from_url(new.url) as second:
        await second.config_set("requirepass", password)  # the address has one password
        await second.config_set("repl-diskless-sync-delay", 0)

        async def replicates() -> bool | None:
            return (await first.info("replication"))["master_link_status"] == "up" or None

        async def fail_over() -> None:
            await first.config_set("masterauth", password)
            await first.replicaof(LOOPBACK, new.port)
            await eventually(replicates)
            link.lead_to(new.port)

        yield f"redis://:{password}@{LOOPBACK}:{port}/0", first, second, fail_over
