"""A consumer that ends closes its connections, whatever it is doing at that moment."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import ConnectionGroup
from confluent_kafka.admin import AdminClient

from streams.client import Client
from streams.fetcher import Fetcher
from tests.integration.streams.transporting import Handler
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.streams.transporting import Bench


@asynccontextmanager
async def consuming(bench: Bench) -> AsyncIterator[Any]:
    """A consumer of the topic, with what the transport overrides."""
    consumer = AIOKafkaConsumer(bench.kafka.named(bench.topic), bootstrap_servers=bench.kafka.servers)
    await consumer.start()
    consumer._client.__class__ = Client
    consumer._fetcher.__class__ = Fetcher
    try:
        yield consumer
    finally:
        await consumer.stop()


def broker_of(consumer: Any) -> int:
    [broker] = consumer._client.cluster.brokers()
    return broker.nodeId


def is_connected(consumer: Any) -> bool:
    return any(connection.connected() for connection in consumer._client._conns.values())


async def test_a_call_that_goes_on_after_the_end_opens_no_connection(bench: Bench) -> None:
    async with consuming(bench) as consumer:
        broker = broker_of(consumer)
        assert await consumer._client.ready(broker)
    assert not await consumer._client.ready(broker)
    assert not await consumer._client.ready(broker, group=ConnectionGroup.COORDINATION)
    assert not is_connected(consumer)


async def test_a_connection_that_is_being_made_at_the_end_is_closed(bench: Bench) -> None:
    async with consuming(bench) as consumer:
        lock = consumer._client._get_conn_lock
        await lock.acquire()  # held until the end, so that the connection is not made earlier
        making = asyncio.create_task(consumer._client.ready(broker_of(consumer), group=ConnectionGroup.COORDINATION))
        await asyncio.sleep(0)  # one turn of the loop, in which it starts to wait for the lock
    lock.release()
    assert not await making
    assert not is_connected(consumer)


async def test_a_poll_that_waits_after_an_error_or_has_not_begun_does_not_hold_up_the_end(bench: Bench) -> None:
    async with consuming(bench) as consumer:
        waiting = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)  # one turn of the loop, in which it starts
        fresh = asyncio.create_task(asyncio.Event().wait())
        consumer._fetcher._pending_tasks |= {waiting, fresh}
    assert waiting.cancelled()
    assert fresh.cancelled()
    assert not is_connected(consumer)


async def test_a_worker_that_stops_in_a_rebalance_leaves_its_group(bench: Bench) -> None:
    """Otherwise its partitions wait until its session ends; Faust then closes aiokafka from a thread that cannot do it."""
    handler = Handler.opened()
    bench.produce({0: 1})
    async with bench.worker(handler) as app:
        await until(lambda: bool(handler.done))
        assert await members_of(bench) == 1
        app._on_rebalance_when_stopped()
    assert await members_of(bench) == 0


async def members_of(bench: Bench) -> int:
    group, admin = bench.kafka.named(bench.group), AdminClient(bench.kafka.client)
    described = await asyncio.to_thread(admin.describe_consumer_groups([group])[group].result, 20)
    return len(described.members)
