"""A session that falls silent for any reason is ended by the server; an active one keeps its locks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from runtime.database import UNAVAILABLE, make_pool
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease, LeaseLost
from runtime.sessions import connect, connect_async, kept_alive, wait
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE: Final = timedelta(seconds=2)
SECONDS: Final = LEASE.total_seconds()
HOLDER: Final = Path(__file__).with_name("holder.py")


@pytest.fixture
def other(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def is_free(other: psycopg.Connection) -> bool:
    row = other.execute("select pg_try_advisory_lock(1), pg_advisory_unlock_all()").fetchone()
    return bool(row and row[0])


def sessions(other: psycopg.Connection, name: str) -> int:
    row = other.execute("select count(*) from pg_stat_activity where application_name = %s", (f"tallyhook {name}",)).fetchone()
    return int(row[0]) if row else 0


def passed(start: float, leases: float) -> bool:
    return time.monotonic() - start > leases * SECONDS


async def silence(leases: float) -> None:
    start = time.monotonic()
    await asyncio.to_thread(wait_until, lambda: passed(start, leases))


def test_a_lock_of_a_frozen_process_is_free_within_the_lease_and_it_notices_when_it_continues(
    database_url: str, other: psycopg.Connection
) -> None:
    command = [sys.executable, str(HOLDER), database_url, str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        wait_until(lambda: passed(start, 1.5))
        assert not is_free(other)  # its thread keeps the session alive while it waits for a line
        holder.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_free(other))
        holder.stdin.write("\n")
        holder.stdin.flush()
        holder.send_signal(signal.SIGCONT)
        assert holder.stdout.readline() == "lost\n"
        holder.stdin.close()


def test_a_busy_loop_keeps_its_lock_and_one_that_hangs_loses_it(database_url: str, other: psycopg.Connection) -> None:
    loop = Heartbeat("test")
    with Lease(database_url, "test", LEASE, loop) as lease:
        lease.connection.execute("select pg_advisory_lock(1)")
        start = time.monotonic()
        wait_until(lambda: loop.beat() or passed(start, 2))
        assert lease.held
        assert not is_free(other)
        loop.rest()  # it waits for work, and needs no beat
        start = time.monotonic()
        wait_until(lambda: passed(start, 2))
        assert lease.held
        loop.beat()  # and now it hangs
        wait_until(lambda: is_free(other))
        with pytest.raises(LeaseLost, match="lost"):
            lease.check()


def test_a_session_that_the_server_ends_is_known_to_be_lost_before_the_next_word_is_due(
    database_url: str, other: psycopg.Connection
) -> None:
    with Lease(database_url, "test ended", timedelta(hours=1), Heartbeat("test")) as lease:
        assert lease.held
        other.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tallyhook test ended'")
        wait_until(lambda: not lease.held)
    assert sessions(other, "test ended") == 0


def test_a_client_that_does_not_read_its_result_is_disconnected(database_url: str, other: psycopg.Connection) -> None:
    connection = connect(database_url, name="test deaf", lease=LEASE)
    connection.pgconn.send_query(b"select repeat('x', 1000000) from generate_series(1, 100)")
    wait_until(lambda: sessions(other, "test deaf") == 0)
    connection.close()


def test_a_statement_that_does_not_end_is_ended(database_url: str, other: psycopg.Connection) -> None:
    other.execute("select pg_advisory_lock(1)")
    with (
        connect(database_url, name="test", lease=LEASE, holds=True, statement=LEASE) as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("select pg_advisory_lock(1)")


async def test_a_silent_transaction_of_a_pool_ends_and_one_that_is_kept_alive_does_not(database_url: str) -> None:
    async with make_pool(database_url, size=1, name="test", lease=LEASE) as pool:
        async with pool.connection() as connection, connection.transaction():
            async with kept_alive(connection, LEASE):
                await silence(1.5)
            await connection.execute("select 1")
        with pytest.raises(UNAVAILABLE):  # noqa: PT012  # the transaction itself is what fails
            async with pool.connection() as connection, connection.transaction():
                await silence(1.5)
                await connection.execute("select 1")


async def test_a_holder_that_waits_keeps_its_session(database_url: str, other: psycopg.Connection) -> None:
    async with await connect_async(database_url, name="test", lease=LEASE, holds=True) as connection:
        await connection.execute("select pg_advisory_lock(1)")
        await wait(connection, 1.5 * SECONDS, LEASE)
        assert not is_free(other)
        await silence(1.5)
        with pytest.raises(psycopg.errors.IdleSessionTimeout):
            await connection.execute("select 1")


def test_holding_a_lock_takes_a_few_small_statements_a_lease(database_url: str, other: psycopg.Connection) -> None:
    with Lease(database_url, "test", LEASE, Heartbeat("test")) as lease:
        pid = lease.connection.info.backend_pid
        queries = set()

        def looked() -> bool:
            queries.update(other.execute("select query_start from pg_stat_activity where pid = %s", (pid,)).fetchall())
            return passed(start, 2)

        start = time.monotonic()
        wait_until(looked)
        assert len(queries) <= 2 * 4 + 2
