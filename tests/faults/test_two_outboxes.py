"""Two outbox databases, each with its own gateway and relay, feed one Kafka and the same workers."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from migrations import chain
from ops.stack.postgres import DATABASE
from outbox.settings import RetentionSettings
from outbox.upkeep import keep_partitions
from tests.faults.accounting import assert_ledger, assert_topic, make_load
from tests.sender import Provider
from tests.system import System, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack
    from tests.simulators.stripe import Payment

_SECOND: Final = "second_outbox"
_MARKS: Final = "marks"
_PORTS: Final = ("PUBLIC_PORT", "INTERNAL_PORT", "RELAY_WEB_PORT")


@contextmanager
def logical(stack: Stack) -> Iterator[None]:
    """A Postgres whose log can be read by another database."""
    with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
        connection.execute("alter system set wal_level = logical")
    stack.postgres.restart()
    try:
        yield
    finally:
        with psycopg.connect(stack.postgres.url, autocommit=True) as connection:
            connection.execute("alter system reset wal_level")
        stack.postgres.restart()


@contextmanager
def second_database(stack: Stack) -> Iterator[str]:
    """Make another outbox database that gets the marks and dead letters of the first one; return its URL."""
    first = stack.postgres.url
    second = first.replace(f"/{DATABASE}", f"/{_SECOND}")
    assert second != first
    with psycopg.connect(first, autocommit=True) as one:
        one.execute(f"create database {_SECOND}")
        chain.upgrade(second)
        keep_partitions(RetentionSettings.load({"DATABASE_URL": second, "RETENTION_DAYS": "2"}))
        one.execute(
            f"create publication {_MARKS} for table consumed, dead_letters"
            " with (publish = 'insert, update', publish_via_partition_root)"
        )
        # A separate statement: within one server, `create subscription` would wait for its own transaction.
        one.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (_MARKS,))
        with psycopg.connect(second, autocommit=True) as two:
            source = make_conninfo(first)
            two.execute(
                f"create subscription {_MARKS} connection '{source}' publication {_MARKS}"
                f" with (create_slot = false, slot_name = {_MARKS})"
            )
            try:
                yield second
            finally:
                two.execute(f"drop subscription {_MARKS}")
                one.execute(f"drop publication {_MARKS}")


def second_system(stack: Stack, url: str) -> System:
    ports = {variable: str(stack.ports.take(f"second-{variable}", 0)) for variable in _PORTS}
    system = System(stack, workers=(), DATABASE_URL=url, **ports)
    system.database_url = url
    return system


@pytest.mark.timeout(240)
async def test_both_outboxes_account_for_all_that_they_took_and_each_effect_is_there_once(empty_stack: Stack) -> None:
    loads = make_load(200, seed=3), make_load(200, seed=4)
    with (
        logical(empty_stack),
        running_system(empty_stack, workers=("payments",)) as first,
        second_database(empty_stack) as url,
    ):
        second = second_system(empty_stack, url)
        try:
            await asyncio.to_thread(second.start)
            providers = [Provider(each.public) for each in (first, second)]
            await asyncio.gather(*(to.deliver(load.bodies) for to, load in zip(providers, loads, strict=True)))
            assert [each.acknowledged for each in providers] == [len(load.bodies) for load in loads]
            await asyncio.to_thread(_until_done, (first, second), sum(load.events for load in loads))
        finally:
            await asyncio.to_thread(second.stop)
        await asyncio.to_thread(assert_topic, first, loads[0] + loads[1])
        for each, load in zip((first, second), loads, strict=True):
            await asyncio.to_thread(assert_ledger, each, stripe=load.events)
        _assert_shared(first, second, loads[0].payments + loads[1].payments)


def _until_done(systems: tuple[System, System], events: int) -> None:
    """Wait until both databases have the marks of all events and no pending row."""
    for each in systems:
        wait_until(lambda each=each: each.count("consumed where consumer = 'payments'") == events)
        wait_until(lambda each=each: each.count("outbox_pending") == 0)


def _assert_shared(first: System, second: System, payments: list[Payment]) -> None:
    """The workers' database has the state of every payment and all of their events; the other one what came to its gateway."""
    assert {key for (key,) in first.query("select id from payments")} == {payment.id for payment in payments}
    assert second.count("payments") == 0
    assert second.count("outbox where topic <> 'webhooks.stripe'") == 0
    assert first.count("dead_letters") == second.count("dead_letters") == 0
