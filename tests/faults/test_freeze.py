"""
One process of every kind is frozen under load (SIGSTOP), as if it hung, while its twin runs.

All work is done while it is frozen, including the work that it held. Once the frozen processes continue, they repeat nothing
that their twins have done: no event, mail or delivery exists twice, except those in flight at the moment of the freeze.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import aiohttp
import psutil
import pytest

from outbox.locks import Lock
from tests.faults.accounting import assert_ledger
from tests.faults.waits import UNDER_WAY, Client, Served, load
from tests.kafka import read_topic
from tests.mail import mail_server
from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.simulators.crm import SECRET, running_crm
from tests.system import ADMIN, Doors, System, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.stack import Stack

AROUND: Final = 15
FROZEN: Final = 40
"""The number of requests of each kind before and after the freeze, and during it."""
REPLAYED: Final = 60
RATE: Final = 2
REPLAYING: Final = "webhook_replays where finished_at is null"
SETTINGS: Final = {"COMMAND_WAIT": "10ms", "CACHE_KEY_PREFIX": "shop:"}


async def begin_replay(http: aiohttp.ClientSession, system: System) -> str:
    """Start a replay too long to end before the freeze; return the name of the gateway that works on it."""
    for _ in range(REPLAYED):
        assert (await post_stripe(http, system.public, stripe.Payment().succeeded(int(time.time())))).status == 200
    await asyncio.to_thread(wait_until, lambda: system.count("payments where status = 'succeeded'") == REPLAYED + AROUND)
    asked = {"source": "stripe", "rate": RATE}
    async with http.post(f"{system.internal}/v1/admin/webhooks/replay", json=asked, headers=ADMIN) as answer:
        assert answer.status == 202, await answer.text()
    return await asyncio.to_thread(leader_of, system)


def leader_of(system: System) -> str:
    leading = """select client_port from pg_stat_activity join pg_locks using (pid)
                 where locktype = 'advisory' and granted and (classid::int8 << 32) | objid::int8 = %s"""
    wait_until(lambda: system.query(leading, Lock.REPLAYS))
    [(port,)] = system.query(leading, Lock.REPLAYS)
    pids = {name: system.process(name).pid for name in ("gateway", "gateway-2")}
    ports = {name: {each.laddr.port for each in psutil.Process(pid).net_connections()} for name, pid in pids.items()}
    return next(name for name in ports if port in ports[name])


def send(system: System, number: signal.Signals, names: Sequence[str]) -> None:
    for name in names:
        pid = system.process(name).pid
        assert pid is not None
        os.kill(pid, number)


@pytest.mark.timeout(400)
async def test_work_held_by_a_frozen_process_is_soon_taken_over_by_its_twin(empty_stack: Stack) -> None:
    served = Served()
    with mail_server() as mail:
        async with running_crm() as crm, aiohttp.ClientSession() as http:
            settings = SETTINGS | partner.settings(crm.url, SECRET, "acme", "other") | {"NOTIFY_EMAIL_URL": mail.url}
            running = running_system(empty_stack, together=True, doubled=True, hung_after=timedelta(minutes=10), **settings)
            system = await asyncio.to_thread(running.__enter__)
            try:
                client = Client(http, Doors(system.public, system.internal), served)
                await load(client.ask, AROUND)
                leader = await begin_replay(http, system)
                if leader == "gateway":
                    client.doors = system.second
                frozen = [leader, "relay", "worker-all"]
                send(system, signal.SIGSTOP, frozen)
                assert system.count(REPLAYING)
                await load(client.ask, FROZEN)
                await asyncio.to_thread(wait_until, lambda: served.is_done(system) and not system.count(REPLAYING))
                send(system, signal.SIGCONT, frozen)
                await load(client.ask, AROUND)
                await asyncio.to_thread(wait_until, lambda: served.is_done(system))
                delivered = Counter(crm.ids("/acme") + crm.ids("/other"))
                await asyncio.to_thread(assert_once, system, served, delivered, mail.ids)
            finally:
                send(system, signal.SIGCONT, [state.name for state in system.states])
                await asyncio.to_thread(running.__exit__, None, None, None)


def assert_once(system: System, served: Served, delivered: Counter[str], mailed: Counter[str]) -> None:
    payments, leads = served.number("payment") + REPLAYED, served.number("lead")
    assert delivered.total() - len(delivered) <= UNDER_WAY
    assert len(delivered) == leads
    assert mailed.total() - len(mailed) <= UNDER_WAY
    emitted = dict(system.query("select type, count(*) from outbox where topic <> 'webhooks.stripe' group by type"))
    assert emitted["billing.payment.succeeded"] == payments
    assert emitted["lead.delivered"] == leads
    assert emitted.get("lead.delivery.failed", 0) == 0
    assert system.count("dead_letters") == 0
    found = read_topic(system.cluster, "billing.payment.events", until=lambda found: len(found) >= payments)
    assert len({record.headers["ce_id"] for record in found}) == payments
    assert len(found) - payments <= UNDER_WAY
    assert_ledger(system, partner=leads, stripe=payments, commands=3 * leads)
