"""Three brokers, two of which must have each record: the relay's link to one is cut under load, then brokers are killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka.admin import AdminClient

from runtime.addresses import LOOPBACK
from tests.clusters import BROKERS, COPIES, Broker, three_brokers
from tests.faults.crowd import PARTNER, assert_each_once, sending
from tests.link import linked
from tests.simulators import partner
from tests.simulators.crm import SECRET, running_crm
from tests.system import System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ops.stack import Stack
    from tests.servers import StartStack

SETTINGS: Final = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s", **COPIES}
FEW: Final = 20
MANY: Final = 400
"""The number of events while the link is cut; in that time the relay's requests to the broker time out more than once."""
WAIT: Final = 10  # seconds for one answer


@pytest.fixture
def stack(own_stack: StartStack) -> Stack:
    return own_stack("postgres", *BROKERS, kinds=three_brokers())


def leaders(system: System) -> Counter[str]:
    """By broker, the number of partitions that it leads."""
    topics = AdminClient({"bootstrap.servers": system.kafka}).list_topics(timeout=WAIT).topics
    return Counter(BROKERS[each.leader - 1] for topic in topics.values() for each in topic.partitions.values() if each.leader > 0)


def wait_in_sync(system: System) -> None:
    admin = AdminClient({"bootstrap.servers": system.kafka})

    def in_sync() -> bool:
        topics = admin.list_topics(timeout=WAIT).topics
        return all(len(each.isrs) == len(BROKERS) for topic in topics.values() for each in topic.partitions.values())

    wait_until(in_sync, every=0.2)


def come_back(system: System, *names: str) -> None:
    """Start these brokers, and wait until every partition has all its copies again."""
    with ThreadPoolExecutor(len(names)) as pool:
        for started in [pool.submit(system.stack.server(name).start) for name in names]:
            started.result()
    wait_in_sync(system)


@pytest.mark.timeout(240)
async def test_a_line_cut_and_brokers_lost_lose_and_double_nothing(stack: Stack) -> None:
    async with running_crm() as crm, AsyncExitStack() as ends:
        system = System(stack, workers=("payments", "leads"), **SETTINGS, **partner.settings(crm.url, SECRET, PARTNER))
        brokers = [broker for name in BROKERS if isinstance(broker := stack.server(name), Broker)]
        links = {each.name: await ends.enter_async_context(linked(each.link, each.far)) for each in brokers}
        system.add_settings("relay", {"KAFKA_BOOTSTRAP_SERVERS": ",".join(f"{LOOPBACK}:{each.link}" for each in brokers)})
        await asyncio.to_thread(system.prepare)
        ends.push_async_callback(asyncio.to_thread, system.stop)
        await asyncio.to_thread(system.start)
        async with sending(crm, system.public) as crowd:
            await crowd.delivered(FEW)
            first = leaders(system).most_common(1)[0][0]
            links[first].cut()
            await crowd.acknowledge(MANY)
            assert await asyncio.to_thread(system.count, "outbox_pending") > 0
            links[first].mend()
            await crowd.delivered(FEW)
            await asyncio.to_thread(stack.server(first).kill)
            await crowd.delivered(FEW)
            await asyncio.to_thread(come_back, system, first)
            second = next(name for name, _ in leaders(system).most_common() if name != first)
            await asyncio.to_thread(stack.server(second).kill)
            await crowd.delivered(FEW)
            await asyncio.to_thread(stack.server(first).kill)  # the one left may not acknowledge anything alone
            await crowd.acknowledge(FEW)
            assert await asyncio.to_thread(system.count, "outbox_pending") > 0
            await asyncio.to_thread(come_back, system, first, second)
            await crowd.delivered(FEW)
        assert {*crowd.answers} == {"200", "202"}  # intake does not need Kafka
        await asyncio.to_thread(assert_each_once, system, crowd, crm)
