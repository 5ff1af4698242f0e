"""Accounting of both sides: every acknowledged event has each of its effects exactly once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from operations.ledger import books as ledger
from operations.ledger import states
from tests.kafka import Stored, read_topic
from tests.simulators import stripe
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.system import System


@dataclass
class Load:
    """Payments, each created and paid and some refunded, in a random order and partly sent twice."""

    payments: list[stripe.Payment]
    bodies: list[bytes]
    """In the order of sending, repeats included."""
    events: int
    """Distinct events among them."""
    refunded: set[str] = field(default_factory=set)
    rejected: int = 0
    """How often one of the bodies was refused."""

    def __add__(self, other: Load) -> Load:
        return Load(
            self.payments + other.payments,
            self.bodies + other.bodies,
            self.events + other.events,
            self.refunded | other.refunded,
            self.rejected + other.rejected,
        )


def make_load(payments: int, *, seed: int) -> Load:
    chance, now = random.Random(seed), int(time.time())
    lives = [stripe.Payment(metadata={"user_id": f"u-{n}"}) for n in range(payments)]
    bodies = [body for life in lives for body in (life.created(now), life.succeeded(now + 1))]
    refunded = {life.id for life in chance.sample(lives, payments // 4)}
    bodies += [life.refunded(life.amount, now + 2) for life in lives if life.id in refunded]
    repeated = chance.sample(bodies, len(bodies) // 10)
    events = len(bodies)
    bodies += repeated
    chance.shuffle(bodies)
    return Load(lives, bodies, events, refunded)


def assert_all_accounted(system: System, load: Load, besides: Collection[str] = ()) -> None:
    """
    Wait for the last effect, then compare every count; a difference in either direction fails.

    `besides` are the types of events that other workers may have emitted.
    """
    marked = "consumed where consumer = 'payments'"
    wait_until(lambda: system.count(marked) >= load.events)
    wait_until(lambda: system.count("outbox_pending") == 0)
    _assert_tables(system, load, besides)
    assert_ledger(system, stripe=load.events)
    assert_topic(system, load)


def assert_ledger(
    system: System, *, commands: int | None = None, now: datetime | None = None, days: float = 0.1, **processed: int
) -> None:
    """
    Both sides of the ledger agree, nothing is in flight, dead-lettered or lost, and every sent event is processed.

    `commands` is the number of commands that were sent; all of them are done. The ledger is of the last `days` before `now`.
    """
    books = asyncio.run(_read_ledger(system.database_url, now or datetime.now(UTC), timedelta(days=days)))
    assert books.balanced, books.unexplained
    taken = dict(system.query("select source || ' ' || outcome, count(*) from webhook_deliveries group by 1"))
    for source in books.sources:
        name = source.source
        assert source.processed == processed.get(name, 0), books
        assert (source.in_flight, source.dead_lettered, source.missing, source.unlogged) == (0, 0, 0, 0), books
        outcomes = (source.rejected, source.duplicates, source.ignored)
        assert outcomes == tuple(taken.get(f"{name} {outcome}", 0) for outcome in ("rejected", "duplicate", "ignored"))
    assert all(each.pending == each.failed == 0 for each in books.commands), books.commands
    assert commands is None or sum(each.done for each in books.commands) == commands


async def _read_ledger(url: str, now: datetime, period: timedelta) -> ledger.Ledger:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        return await ledger.read(connection, now - period, states.end_of_ids(now))


def _assert_tables(system: System, load: Load, besides: Collection[str]) -> None:
    outcomes = dict(system.query("select outcome, count(*) from webhook_deliveries group by outcome"))
    assert outcomes.pop("rejected", 0) == load.rejected
    assert outcomes["accepted"] == load.events
    assert outcomes.get("duplicate", 0) >= len(load.bodies) - load.events
    assert set(outcomes) <= {"accepted", "duplicate"}
    assert system.count("dedup") == load.events
    assert system.count("consumed where consumer = 'payments'") == load.events
    assert system.count("history") == load.events
    assert system.count("dead_letters") == 0
    statuses = dict(system.query("select status, count(*) from payments group by status"))
    assert statuses == {"succeeded": len(load.payments) - len(load.refunded), "refunded": len(load.refunded)}
    assert not system.query("select id from payments where version <> (select count(*) from history where aggregate_id = id)")
    written = dict(system.query("select type, count(*) from outbox where topic <> 'webhooks.stripe' group by type"))
    alerts = system.query("select convert_from(data, 'UTF8') from outbox where type = 'alert.raised'")
    assert bool(alerts) == bool(load.rejected), alerts
    assert {kind: number for kind, number in written.items() if kind not in {"alert.raised", *besides}} == {
        "billing.payment.succeeded": len(load.payments),
        "billing.payment.refunded": len(load.refunded),
        "notification.send": len(load.payments) + len(load.refunded),
    }


def assert_topic(system: System, load: Load) -> None:
    """Each billing event is on Kafka at least once under one id, and its first appearances keep the order of versions."""
    expected = len(load.payments) + len(load.refunded)

    def all_there(found: list[Stored]) -> bool:
        return len({record.headers["ce_id"] for record in found}) >= expected

    found = read_topic(system.cluster, "billing.payment.events", until=all_there)
    first = {record.headers["ce_id"]: record for record in reversed(found)}
    emitted = Counter((record.key, record.headers["ce_type"]) for record in first.values())
    assert set(emitted.values()) == {1}
    assert emitted.keys() == {(life.id, "billing.payment.succeeded") for life in load.payments} | {
        (key, "billing.payment.refunded") for key in load.refunded
    }
    for key in load.refunded:
        mine = sorted((r for r in first.values() if r.key == key), key=lambda record: record.offset)
        assert [r.headers["ce_type"] for r in mine] == ["billing.payment.succeeded", "billing.payment.refunded"]
