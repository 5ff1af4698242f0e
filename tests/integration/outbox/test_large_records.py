"""Records of more than a megabyte: the topic decides which is too large, and the workers read all others."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import psycopg

from outbox import relay_store
from tests.integration.outbox.test_relay import event, pending, running_relay, write
from tests.integration.streams.transporting import FETCH, LIMITS, Bench, Handler
from tests.kafka import make_topic
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.kafka import Cluster

LARGE: Final = 2_000_000


async def test_an_event_that_its_topic_permits_reaches_the_worker(database_url: str, kafka: Cluster, tmp_path: Path) -> None:
    """One event is larger than the worker's fetch of a partition, one is larger than its whole batch too."""
    sizes = [10, LARGE, 10, LIMITS.size + FETCH, 10]
    topic = make_topic(kafka, partitions=1, **{"max.message.bytes": "8000000"})
    sent = [event(topic, data=random.randbytes(size)) for size in sizes]
    write(database_url, *sent)
    handler = Handler.opened()

    async def all_are_read() -> bool | None:
        return len(handler.done) == len(sent) or None

    with running_relay(database_url, kafka):
        await asyncio.to_thread(wait_until, lambda: pending(database_url) == 0)
        async with Bench(kafka, topic, tmp_path).worker(handler):
            await eventually(all_are_read)
    assert [record.value for record in handler.done] == [each.data for each in sent]
    with psycopg.connect(database_url) as connection:
        assert relay_store.parked(connection) == []


def test_an_event_that_its_topic_does_not_permit_is_parked(database_url: str, kafka: Cluster) -> None:
    topic = make_topic(kafka)  # the brokers' default is about a megabyte
    large, small = event(topic, data=random.randbytes(LARGE)), event(topic)
    write(database_url, large, small)
    with running_relay(database_url, kafka), psycopg.connect(database_url, autocommit=True) as connection:
        wait_until(lambda: pending(database_url) == 0)
        reasons = {row.event_id: row.reason for row in relay_store.parked(connection)}
    assert reasons.get(large.id) == "record_too_large"
    assert small.id not in reasons
