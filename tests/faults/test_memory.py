"""Every process of ours with little memory, against a backlog of large events: all effects come, and none of them ends."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp
import psycopg
import pytest

from outbox.append import APPEND, columns_of, event_of
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.leads import LeadReceived
from schemas.operations import AlertRaised, InvalidateCache, SendNotification
from schemas.search import PropertyUpserted
from schemas.stripe import DATASCHEMA
from schemas.topics import Topic
from tests.mail import mail_server
from tests.sender import Provider
from tests.simulators import partner
from tests.simulators.crm import SECRET, crm_of_its_own
from tests.simulators.stripe import Payment
from tests.system import ADMIN, System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import msgspec

    from ops.stack import Stack

DATA_LIMIT: Final = 400 * 1024 * 1024
"""The limit of a process's writable memory, including its thread stacks; idle processes use 110 to 260 MB."""
SIZE: Final = 240_000
PARTNERS: Final = ("acme", "other")
POSTED: Final = 100
WORDS: Final = " ".join(random.Random(7).randbytes(4).hex() for _ in range(SIZE // 9))  # it cannot be compressed


def stripe(number: int) -> Event:
    payment = Payment(id=f"pi_{number}")
    return Event(
        id=new_id(),
        topic=Topic.WEBHOOKS_STRIPE,
        aggregate_type="payment",
        aggregate_id=payment.id,
        source="/test",
        type="com.stripe.payment_intent.succeeded",
        dataschema=DATASCHEMA,
        occurred_at=datetime.now(UTC),
        traceparent=new_trace().traceparent,
        data=payment.succeeded(description=WORDS),
    )


def of(record: msgspec.Struct, key: str) -> Event:
    return event_of(record, aggregate_id=key, source="/test", occurred_at=datetime.now(UTC), trace=new_trace())


def lead(number: int) -> Event:
    name = PARTNERS[number % len(PARTNERS)]
    return of(LeadReceived(partner_id=name, external_lead_id=str(number), payload={"note": WORDS}), f"{name}/{number}")


def document(number: int) -> Event:
    return of(PropertyUpserted(id=str(number), version=1, doc={"text": WORDS}), str(number))


def invalidation(number: int) -> Event:
    return of(InvalidateCache(keys=[f"{number}:{word}" for word in WORDS.split()][: SIZE // 16]), f"all-{number}")


def message(number: int) -> Event:
    data = {"alert": "test", "subject": str(number), "summary": WORDS, "runbook": "none"}
    record = SendNotification(to=f"{number}@example.com", channel="EMAIL", template="operator-alert", data=data)
    return of(record, record.to)


def alert(number: int) -> Event:
    return of(AlertRaised(alert=f"test_{number}", subject="test", summary=WORDS, runbook="none"), str(number))


BACKLOG: Final[dict[str, tuple[int, Callable[[int], Event]]]] = {
    "payments": (300, stripe),
    "leads": (200, lead),
    "search": (200, document),
    "cache": (100, invalidation),
    "notifications": (150, message),
    "alerts": (100, alert),
}


def write_backlog(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(max(rows for rows, _ in BACKLOG.values())):
            events = [make(number) for rows, make in BACKLOG.values() if number < rows]
            connection.execute(APPEND, columns_of(events))


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    with crm_of_its_own() as crm, mail_server() as mail:
        settings = partner.settings(crm.url, SECRET, *PARTNERS) | {"NOTIFY_EMAIL_URL": mail.url, "CACHE_KEY_PREFIX": "shop:"}
        system = System(empty_stack, data_limit=DATA_LIMIT, **settings)
        system.prepare()
        write_backlog(system.database_url)
        try:
            system.start()
            yield system
        finally:
            system.stop()


@pytest.mark.timeout(300)
async def test_a_backlog_of_large_events_has_all_its_effects_within_little_memory(system: System) -> None:
    provider = Provider(system.public)
    await provider.deliver([Payment(id=f"pi_posted_{n}").succeeded(description=WORDS) for n in range(POSTED)])
    assert provider.answers == {"200": POSTED}
    written = {name: rows for name, (rows, _) in BACKLOG.items()}
    await asyncio.to_thread(wait_until, lambda: handled(system) == written)
    outcomes = {
        "payments where status = 'succeeded'": BACKLOG["payments"][0] + POSTED,
        "leads where status = 'delivered'": BACKLOG["leads"][0],
        "notifications where status = 'sent'": BACKLOG["notifications"][0],
        "alert_windows where alert ~ '^test_'": BACKLOG["alerts"][0],
        "dead_letters": 0,
    }
    await asyncio.to_thread(wait_until, lambda: {each: system.count(each) for each in outcomes} == outcomes)
    async with aiohttp.ClientSession() as http:
        for path in ("webhooks/deliveries?limit=500", "dead-letters", "audit?limit=500"):
            async with http.get(f"{system.internal}/v1/admin/{path}", headers=ADMIN) as answer:
                assert (answer.status, json.loads(await answer.text()) is not None) == (200, True)
    assert {state.name: (state.state, state.restarts) for state in system.states} == {
        state.name: ("ready", 0) for state in system.states
    }


def handled(system: System) -> dict[str, int]:
    """How many events of the backlog each worker has marked."""
    query = """select c.consumer, count(*) from consumed c join outbox o on o.id = c.event_id
               where o.source = '/test' group by c.consumer"""
    return {str(name): int(number) for name, number in system.query(query)}
