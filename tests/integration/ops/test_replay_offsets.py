"""Offsets moved back, and shadows beside the live tables, on a real Kafka and a real Postgres."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from outbox import topics
from runtime.ids import new_id
from tests.integration.ops.replaying import STRIPE, World, at, envelope, lives
from tests.simulators import stripe
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.servers import StartStack

PAYMENTS = ("--worker", "payments", "--topic", STRIPE)
NOTIFICATIONS = ("--worker", "notifications", "--topic", "notification.commands")


@pytest.fixture(scope="module")
def kafka(start_stack: StartStack) -> str:
    """A Kafka whose topics have their real names, so that nobody else may use it."""
    url = start_stack("kafka").kafka.url
    topics.ensure(url)
    return url


@pytest.fixture
def world(kafka: str, database_url: str) -> World:
    return World(kafka, database_url)


def test_a_shadow_of_five_thousand_events_equals_the_live_tables_and_leaves_nothing(world: World) -> None:
    begin = world.ends()
    world.produce(envelope(body) for body in lives(1000, seed=1))
    world.handle(begin)
    before = world.projected()
    outbox = world.rows("select count(*) from outbox")
    found = world.data(*PAYMENTS, *at(begin), "--shadow")
    print(found)
    assert (found["exit"], found["equal"], found["records"]) == (0, True, 5000)
    assert found["compared"] == 2000 + sum(1 for n in range(1000) if n % 3)
    assert (found["outsideRange"], found["liveBehind"], found["setAside"]) == (0, 0, {})
    assert found["wouldTell"]["billing.payment.succeeded"] == 1000
    assert world.projected() == before
    assert world.rows("select count(*) from outbox") == outbox
    assert world.rows("select nspname from pg_namespace where nspname like 'shadow%%'") == []
