"""A gateway of two processes: one port, one health, whole metrics; it drains as one, and ends as one when a process dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import psutil
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.gateways import SECRET
from tests.integration.gateway.test_process import start, until_logged
from tests.sender import post_stripe
from tests.simulators.stripe import Payment
from tests.waiting import LIMIT, eventually

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from prometheus_client.metrics_core import Metric

    from tests.gateways import Wire

TWO = {"GATEWAY_PROCESSES": "2", "SHUTDOWN_DELAY": "0s"}
PROBES = 32
"""Requests at once, each on its own connection: the kernel does not give all of them to one process of two."""


class Two(NamedTuple):
    """A gateway of two processes, and a client that opens a connection for each request."""

    process: Process
    public: str
    internal: str
    http: aiohttp.ClientSession

    @property
    def children(self) -> list[int]:
        """The pids of the processes that serve, in the order of their numbers."""
        return sorted(child.pid for child in psutil.Process(self.process.pid).children())

    async def get(self, url: str) -> tuple[int, str]:
        async with self.http.get(url) as answer:
            return answer.status, await answer.text()

    async def families(self) -> list[Metric]:
        status, text = await self.get(f"{self.internal}/metrics")
        assert status == 200, text
        return list(text_string_to_metric_families(text))

    async def figures(self, name: str, **labels: str) -> dict[str, float]:
        """Return the metric of each process, by the number of the process."""
        return {
            sample.labels["gateway_process"]: sample.value
            for family in await self.families()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    async def deliver(self, number: int) -> list[int]:
        """Deliver so many events at once; returns the statuses."""
        bodies = [Payment().succeeded() for _ in range(number)]
        answers = await asyncio.gather(*(post_stripe(self.http, self.public, body, secret=SECRET) for body in bodies))
        return [answer.status for answer in answers]

    async def until(self, path: str, status: int) -> str:
        async def look() -> str | None:
            found, text = await self.get(f"{self.public}{path}")
            return text if found == status else None

        return await eventually(look)

    async def logged(self, event: str, times: int) -> list[dict[str, Any]]:
        return [await until_logged(self.process, event) for _ in range(times)]


@asynccontextmanager
async def two(database_url: str, **changes: str) -> AsyncIterator[Two]:
    process = await start(database_url, **TWO | changes)
    try:
        started = [await until_logged(process, "gateway_started") for _ in range(2)]
        assert [each["public"] for each in started] == [started[0]["public"]] * 2
        assert {each["gateway_process"] for each in started} == {1, 2}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0)) as http:
            running = Two(process, started[0]["public"], started[0]["internal"], http)
            await running.until("/health/ready", 200)
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def count_of(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select count(*) from webhook_deliveries").fetchone()
        return row[0] if row else 0


async def test_both_answer_on_one_port_and_the_metrics_are_those_of_both(database_url: str) -> None:
    async with two(database_url) as running:
        assert await running.deliver(60) == [200] * 60
        for _ in range(4):  # whichever of them answers
            received = await running.figures("tallyhook_webhooks_received_total", source="stripe", outcome="accepted")
            assert sum(received.values()) == 60
            assert all(received[number] > 0 for number in "12")
        families = [family.name for family in await running.families()]
        assert len(families) == len(set(families))
        assert (await running.figures("process_resident_memory_bytes")).keys() == {"1", "2"}
    assert count_of(database_url) == 60


async def test_one_that_is_killed_ends_the_whole_with_an_error(database_url: str) -> None:
    async with two(database_url) as running:
        killed = running.children[0]
        os.kill(killed, signal.SIGKILL)
        line = await until_logged(running.process, "gateway_process_ended")
        assert (line["pid"], line["code"], line["reason"]) == (killed, -signal.SIGKILL, "process_ended")
        await until_logged(running.process, "gateway_stopped")  # the other one, in order
        assert await running.process.wait() == 1


async def test_both_commit_their_accepted_deliveries_before_they_end(database_url: str, wire: Wire) -> None:
    async with two(wire.url) as running:
        wire.hold()
        sent = asyncio.create_task(running.deliver(30))

        async def both_hold_some() -> bool | None:
            open_now = await running.figures("tallyhook_connections_open", listener="public")
            return (sum(open_now.values()) >= 30 and min(open_now.values()) > 0) or None

        await eventually(both_hold_some)
        running.process.terminate()
        await running.logged("gateway_stopping", 2)
        wire.release()
        assert await sent == [200] * 30
        await running.logged("gateway_stopped", 2)
        assert await running.process.wait() == 0
    assert count_of(database_url) == 30


async def test_a_signal_to_the_whole_group_is_one_request_and_a_second_one_ends_the_delay(database_url: str) -> None:
    async with two(database_url, SHUTDOWN_DELAY="60s") as running:
        for pid in (*running.children, running.process.pid):
            os.kill(pid, signal.SIGINT)
        await running.logged("gateway_stopping", 2)
        assert "stopping" in await running.until("/health/ready", 503)
        assert await running.get(f"{running.public}/health/live") == (200, '{"live":true}')
        assert await running.deliver(10) == [200] * 10
        assert running.process.returncode is None
        running.process.send_signal(signal.SIGINT)
        await running.logged("gateway_stopped", 2)
        assert await running.process.wait() == 0


async def test_health_is_bad_and_metrics_are_refused_while_one_is_frozen(database_url: str) -> None:
    async with two(database_url) as running:
        for frozen in running.children:
            os.kill(frozen, signal.SIGSTOP)
            try:
                for path in ("/health/live", "/health/ready"):
                    assert "does not answer" in await refused(running, f"{running.public}{path}")
                assert "loop_hung" in await refused(running, f"{running.internal}/metrics")
            finally:
                os.kill(frozen, signal.SIGCONT)
            await running.until("/health/ready", 200)
        assert (await running.figures("tallyhook_intake_waiting")).keys() == {"1", "2"}


async def refused(running: Two, url: str) -> str:
    """Return the text of the first answer 503. Several requests are sent at once: the frozen process answers none of its own."""

    async def look() -> str | None:
        asking = [asyncio.create_task(running.get(url)) for _ in range(PROBES)]
        try:
            status, text = await next(asyncio.as_completed(asking, timeout=LIMIT))
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return text if status == 503 else None

    return await eventually(look)


async def test_both_end_when_the_one_is_gone_that_looks_after_them(database_url: str) -> None:
    async with two(database_url) as running:
        children = [psutil.Process(pid) for pid in running.children]
        running.process.kill()
        await running.logged("gateway_stopped", 2)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 30)
        assert not alive


@pytest.mark.parametrize("shared", [False, True])
async def test_a_port_that_another_program_has_is_one_line_and_a_failure(database_url: str, shared: bool) -> None:
    with socket.socket() as holder:
        if shared:  # as another gateway of several processes has it
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        process = await start(database_url, **TWO, PUBLIC_PORT=str(holder.getsockname()[1]))
        failed = await until_logged(process, "gateway_failed")
        assert failed["reason"] == "cannot_listen"
        assert "in use" in failed["error"]
        assert await process.wait() == 1
