"""Events of one second whose order no field decides: the object is fetched from Stripe's API and folded."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from streams.payments.fetching.wanted import CONTESTS
from streams.payments.handler import PaymentsHandler
from tests.integration.streams.fetching import NOW, World, an_invoice, invoice_paid
from tests.simulators import stripe
from tests.simulators.stripe_api import Scripted
from tests.simulators.stripe_objects import invoice_object, subscription_object

if TYPE_CHECKING:
    from collections.abc import Sequence


def contested(kind: str, decided_by: str) -> float:
    return CONTESTS.labels("stripe", kind, decided_by)._value.get()


def of_one_second(subscription: stripe.Subscription, *statuses: str, **data: Any) -> list[bytes]:
    made = {**subscription_object(subscription, NOW)}
    return [stripe.event("customer.subscription.updated", {**made, "status": status}, at=NOW, **data) for status in statuses]


@pytest.mark.parametrize("order", [("active", "past_due"), ("past_due", "active")])
async def test_the_provider_decides_if_no_event_of_one_second_does(world: World, order: Sequence[str]) -> None:
    subscription = stripe.Subscription()
    asked = contested("subscription", "provider")
    world.api.keep({**subscription_object(subscription, NOW), "status": "active"})
    await world.arrive(*of_one_second(subscription, *order))
    assert await world.rows("select status from subscriptions") == [{"status": "past_due"}], "the fixed rule, meanwhile"
    assert contested("subscription", "provider") == asked + 1
    assert await world.fetch() == 1
    assert await world.rows("select status from subscriptions") == [{"status": "active"}]
    assert await world.fetches() == [("fetched", None, 1)]


async def test_the_previous_attributes_of_an_event_decide_without_a_request(world: World) -> None:
    subscription = stripe.Subscription()
    [first] = of_one_second(subscription, "past_due")
    [second] = of_one_second(subscription, "active", previous_attributes={"status": "past_due"})
    await world.arrive(second, first)
    assert await world.fetches() == []
    assert await world.rows("select status from subscriptions") == [{"status": "active"}]


async def test_two_amounts_of_one_invoice_in_one_second_are_looked_up(world: World) -> None:
    invoice = stripe.Invoice(amount=1000)
    world.api.keep({**invoice_object(invoice, NOW), "amount_due": 3000})
    await world.arrive(
        invoice.updated(NOW, amount_due=3000, event_id="evt_1"), invoice.updated(NOW, amount_due=2000, event_id="evt_2")
    )
    assert await world.rows("select amount_due from invoices") == [{"amount_due": 2000}]
    await world.fetch()
    assert await world.rows("select amount_due from invoices") == [{"amount_due": 3000}]


async def test_the_answer_for_a_contested_failure_is_not_a_second_failure(world: World) -> None:
    invoice = stripe.Invoice(amount=1000)
    world.api.keep({**invoice_object(invoice, NOW), "amount_due": 3000, "status": "open"})
    await world.arrive(
        invoice.updated(NOW, amount_due=3000, event_id="evt_1"), invoice.payment_failed(NOW, amount_due=2000, event_id="evt_2")
    )
    assert await world.fetch() == 1
    answers = await world.rows("select type from outbox where data like '%%fetched_%%'::bytea")
    assert answers == [{"type": "com.stripe.invoice.updated"}]


async def test_the_steps_of_a_life_in_one_second_are_no_contest(world: World) -> None:
    payment, invoice, subscription = stripe.Payment(), stripe.Invoice(), stripe.Subscription()
    await world.arrive(
        payment.succeeded(NOW), payment.created(NOW), payment.processing(NOW), payment.failed(NOW), payment.refunded(500, NOW),
        invoice.paid(NOW), invoice.payment_succeeded(NOW), invoice.created(NOW), invoice.finalized(NOW),
        invoice.payment_failed(NOW),
        subscription.deleted(NOW), subscription.created(NOW), subscription.updated(NOW),
    )  # fmt: skip
    assert await world.fetches() == []


async def test_without_a_key_the_fixed_rule_decides_and_it_is_counted(world: World) -> None:
    subscription = stripe.Subscription()
    ruled = contested("subscription", "rule")
    await world.arrive(*of_one_second(subscription, "active", "past_due"), handler=PaymentsHandler(fetches=True, decides=False))
    assert contested("subscription", "rule") == ruled + 1
    assert await world.fetches() == []


async def test_a_contest_that_cannot_be_decided_is_given_up_without_a_dead_letter(world: World) -> None:
    subscription = stripe.Subscription()
    await world.arrive(*of_one_second(subscription, "active", "past_due"))
    for _ in range(3):
        world.api.scripted = [Scripted(500, b'{"error": {}}')]
        await world.fetch()
        await world.make_due()
    assert await world.fetches() == [("given_up", "stripe_failed", 3)]
    assert await world.rows("select * from dead_letters") == []


async def test_stripe_is_called_once_the_second_is_over_by_its_own_clock(world: World) -> None:
    at = int(time.time()) + 5  # our clock is behind
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id, at=at))
    assert await world.fetch() == 0
    await world.make_due()
    await world.fetch()
    assert await world.fetches() == [(None, "answer_too_early", 1)]
    later = format_datetime(datetime.fromtimestamp(at + 3, UTC), usegmt=True)
    world.api.scripted = [Scripted(200, json.dumps(world.api._objects[f"/v1/invoices/{invoice.id}"]).encode(), {"Date": later})]
    await world.make_due()
    await world.fetch()
    assert await world.fetches() == [("fetched", None, 2)]
