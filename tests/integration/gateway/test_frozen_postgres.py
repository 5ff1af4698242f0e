"""A Postgres that is frozen, not gone: its kernel still accepts data, and no answer ever comes."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import psycopg

from migrations import chain
from outbox.partitions import make_days
from tests.gateways import ADMIN
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway
    from tests.servers import StartStack


def send(pid: int, number: signal.Signals) -> None:
    """Signal the server and each process of it."""
    server = psutil.Process(pid)
    for process in [server, *server.children(recursive=True)]:
        process.send_signal(number)


async def until(gateway: Gateway, status: int) -> str:
    """Wait until the gateway's readiness is of this status; returns its reason, if it has one."""

    async def look() -> str | None:
        response = await gateway.get("/health/ready", ADMIN)
        found: dict[str, str] = await response.json(content_type=None)
        return found.get("reason", "") if response.status == status else None

    return await eventually(look)


async def test_a_gateway_without_work_notices_that_postgres_is_frozen_and_that_it_goes_on(
    own_stack: StartStack, start_gateway: StartGateway
) -> None:
    postgres = own_stack("postgres").postgres
    chain.upgrade(postgres.url)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        make_days(connection, datetime.now(UTC), timedelta(days=2))
    assert postgres.child
    pid = postgres.child.pid
    async with start_gateway(DATABASE_URL=postgres.url, INTAKE_COMMIT_LIMIT="500ms") as gateway:
        await until(gateway, 200)
        send(pid, signal.SIGSTOP)
        try:
            assert await until(gateway, 503) == "postgres_unavailable"
            assert all(not beat.silent for beat in gateway.resources.intake.heartbeats), "a restart would help nothing"
        finally:
            send(pid, signal.SIGCONT)
        await until(gateway, 200)
