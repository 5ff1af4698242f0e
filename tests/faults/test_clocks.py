"""Clocks that jump by an hour, and a midnight without a partition: nothing is lost, and work continues by itself."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
import requests
from standardwebhooks import Webhook, WebhookVerificationError

from ops.stack.stack import KINDS
from outbox.partitions import DAILY, name
from tests.clock import Clock, ClockedPostgres
from tests.faults.crowd import PARTNER, assert_each_once, sending
from tests.simulators import partner
from tests.simulators.crm import SECRET, running_crm
from tests.system import System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack import Stack
    from tests.faults.crowd import Crowd
    from tests.servers import StartStack

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
BEFORE: Final = timedelta(seconds=4)
FEW: Final = 20
SETTINGS: Final = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s", "RETENTION_DAYS": "2"}


@pytest.fixture
def stack(own_stack: StartStack) -> Stack:
    return own_stack("postgres", "kafka", kinds={**KINDS, "postgres": ClockedPostgres})


class Timeless(Webhook):
    """Accepts a signature of any time: the CRM runs on the test's clock, which is right."""

    def verify(self, data: bytes | str, headers: dict[str, str], **_: bool) -> None:
        lowered = {name.lower(): text for name, text in headers.items()}
        at = datetime.fromtimestamp(int(lowered["webhook-timestamp"]), UTC)
        text = data if isinstance(data, str) else data.decode()
        if self.sign(lowered["webhook-id"], at, text) not in lowered["webhook-signature"].split():
            raise WebhookVerificationError("No matching signature found")


def readiness(system: System) -> str:
    """`ready`, or the reason why the gateway is not."""
    answer = requests.get(f"{system.public}/health/ready", timeout=10)
    return "ready" if answer.ok else answer.json()["reason"]


def wait_readiness(system: System, wanted: str) -> None:
    wait_until(lambda: readiness(system) == wanted, every=0.1)


def drop_next_day(system: System, now: datetime) -> None:
    """Drop the partitions of the next day, as if none had been made for a week."""
    with psycopg.connect(system.database_url, autocommit=True) as connection:
        for table in DAILY:
            connection.execute(f"drop table {name(table, now.date() + DAY)}")


def wait_steady(system: System, machines: Machines) -> None:
    """Wait until Postgres and the gateway have seen what their clocks show now."""
    seen = "select abs(extract(epoch from clock_timestamp()) - %s) < 2"
    wait_until(lambda: system.query(seen, machines.ours.time())[0][0])
    wait_until(lambda: readiness(system) == "ready", every=0.1)


async def over_midnight(system: System, machines: Machines, crowd: Crowd) -> None:
    """Let the next day begin while events come in."""
    async with crowd.still():
        midnight = machines.midnight()
        machines.set(midnight - BEFORE)
        await asyncio.to_thread(wait_steady, system, machines)
    await asyncio.to_thread(wait_until, lambda: machines.ours.now > midnight)


class Machines:
    """Postgres' clock and the gateway's, which makes the ids; relay and workers use Postgres', whatever their own shows."""

    def __init__(self, postgres: Clock, ours: Clock) -> None:
        self.postgres, self.ours = postgres, ours

    def set(self, now: datetime) -> None:
        for clock in (self.postgres, self.ours):
            clock.set(now)

    def midnight(self) -> datetime:
        return self.ours.now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


@pytest.mark.timeout(300)
async def test_jumps_by_an_hour_and_midnights_without_upkeep_lose_nothing(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.simulators.crm.Webhook", Timeless)
    postgres = stack.postgres
    assert isinstance(postgres, ClockedPostgres)
    machines = Machines(postgres.clock, Clock(tmp_path, postgres.clock.now))
    async with running_crm() as crm:
        settings = SETTINGS | partner.settings(crm.url, SECRET, PARTNER)
        system = System(stack, workers=("payments", "leads"), hung_after=timedelta(minutes=10), **settings)
        system.add_settings("gateway", machines.ours.environment)
        await asyncio.to_thread(system.run, "migrate")
        await asyncio.to_thread(system.run, "topics", "ensure")
        with ExitStack() as ends:
            ends.callback(system.stop)
            await asyncio.to_thread(system.start)
            async with sending(crm, system.public, clock=machines.ours.time) as crowd:
                await crowd.delivered(FEW)
                for step in (HOUR, -2 * HOUR):
                    postgres.clock.step(step)
                    await asyncio.to_thread(wait_readiness, system, "clock_skewed")
                    await crowd.delivered(FEW)
                postgres.clock.step(HOUR)
                await asyncio.to_thread(wait_readiness, system, "ready")
                for step in (HOUR, -2 * HOUR, HOUR):
                    async with crowd.still():
                        machines.set(machines.ours.now + step)
                        await asyncio.to_thread(wait_steady, system, machines)
                    await crowd.delivered(FEW)
                system.signal("relay", signal.SIGSTOP)  # the upkeep of day partitions has run
                ends.callback(system.signal, "relay", signal.SIGCONT)
                await over_midnight(system, machines, crowd)
                await crowd.acknowledge(FEW)
                assert {*crowd.answers} == {"200", "202"}, crowd.answers
                drop_next_day(system, machines.ours.now)
                await over_midnight(system, machines, crowd)
                await asyncio.to_thread(wait_readiness, system, "partition_missing")
                await crowd.refuse(FEW)
                system.signal("relay", signal.SIGCONT)
                await crowd.delivered(FEW)
                await asyncio.to_thread(wait_readiness, system, "ready")
            await asyncio.to_thread(assert_each_once, system, crowd, crm, now=datetime.now(UTC), days=9)
