"""Stripe's lists as a reconciliation reads them: pages, periods, shapes, and objects that Stripe does not list."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from operations.backfill.stripe_api import StripeApiError
from tests.integration.operations.reconciling import AT, SINCE, World, differences, handled, run, worker
from tests.simulators import stripe
from tests.simulators.stripe_api import Scripted, StripeApi
from tests.simulators.stripe_objects import (
    Shape,
    invoice_object,
    subscription_object,
)

if TYPE_CHECKING:
    import psycopg


@pytest.fixture
def world() -> World:
    return World()


async def test_an_object_older_than_the_period_that_began_for_us_within_it_is_fetched(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    world.active["created"] = AT - 86_400
    api.keep(*world.theirs)
    await handled(connection, *world.ours)
    report = await run(connection, api)
    assert (differences(report), report.compared["subscription"]) == ([], 1)
    assert [path for path, _ in api.calls if path.endswith(world.subscription.id)]


async def test_only_the_period_is_compared(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    for created in (AT, int(SINCE.timestamp()) - 1, int(time.time()) + 60):
        api.keep({**invoice_object(stripe.Invoice(), created), "status": "open"})
    assert (await run(connection, api)).compared["invoice"] == 1


async def test_every_page_is_read(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.keep(*(invoice_object(stripe.Invoice(), AT + n) for n in range(250)))
    report = await run(connection, api)
    assert (report.compared["invoice"], report.found) == (250, {"missing_here": 250})
    assert len([path for path, _ in api.calls if path == "/v1/invoices"]) == 3


@pytest.mark.parametrize("shape", [Shape.OLD, Shape.NEW])
async def test_both_shapes_of_the_api_are_compared(
    connection: psycopg.AsyncConnection, api: StripeApi, shape: Shape, database_url: str
) -> None:
    subscription, invoice = stripe.Subscription(shape=shape), stripe.Invoice(shape=shape)
    api.keep({**subscription_object(subscription, AT), "status": "active"}, {**invoice_object(invoice, AT), "status": "open"})
    with worker(database_url):
        assert (await run(connection, api, apply=True)).mended == 2
    assert (await run(connection, api)).equal


async def test_a_charge_that_the_list_does_not_include_is_fetched(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    world.intent["latest_charge"] = world.payment.charge
    api.keep(*world.theirs)
    await handled(connection, *world.ours)
    assert (await run(connection, api)).equal
    assert [path for path, _ in api.calls if path == f"/v1/charges/{world.payment.charge}"]


async def test_one_object_that_cannot_be_read_affects_no_other(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    await handled(connection, *world.ours)
    api.keep(*world.theirs, {**invoice_object(stripe.Invoice(id="in_odd"), AT), "amount_due": "much"})
    report = await run(connection, api)
    assert (differences(report), report.compared["invoice"], report.equal) == ([("invoice", "in_odd", "unreadable")], 1, False)


async def test_a_kind_that_stripe_refuses_is_reported_and_affects_no_other(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    await handled(connection, *world.ours)
    api.keep(*world.theirs)
    refused = Scripted(403, b'{"error": {"type": "invalid_request_error", "message": "no"}}')
    api.scripted = [refused]
    report = await run(connection, api)
    assert [(each.kind, each.reason) for each in report.uncompared] == [("payment_intent", "stripe_key_refused")]
    assert (differences(report), report.compared["invoice"], report.equal) == ([], 1, False)


async def test_a_list_that_cannot_be_narrowed_to_a_time_is_read_whole(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    whole = Scripted(200, json.dumps({"data": [invoice_object(stripe.Invoice(), AT - ago) for ago in (0, 86_400)]}).encode())
    refusal = Scripted(400, b'{"error": {"type": "invalid_request_error", "message": "Unexpected created"}}')
    failure = Scripted(500, b"500 Internal Server Error")
    for answers in ([refusal, whole], [failure, whole, failure], [failure, whole, refusal]):
        api.scripted = [Scripted(200, b'{"data": []}')] * 4 + answers
        report = await run(connection, api)
        assert (report.compared["invoice"], report.uncompared) == (1, [])


async def test_after_a_failure_of_stripe_only_the_period_is_read(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.keep(*(invoice_object(stripe.Invoice(), AT - 86_400 - n) for n in range(250)), invoice_object(stripe.Invoice(), AT))
    api.scripted = [Scripted(200, b'{"data": []}')] * 4 + [Scripted(500, b'{"error": {"message": "oh"}}')]
    report = await run(connection, api)
    assert (report.compared["invoice"], report.uncompared) == (1, [])
    assert len([path for path, _ in api.calls if path == "/v1/invoices"]) == 3, "with the filter, without it, and with it again"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Scripted(401, b'{"error": {"message": "who"}}'), "stripe_key_refused"),
        (Scripted(500, b'{"error": {"message": "oh"}}'), "stripe_failed"),
        (Scripted(429, b'{"error": {"message": "slow"}}'), "stripe_called_too_often"),
        (Scripted(200, b'{"data": 7}'), "stripe_failed"),
        (Scripted(200, b"<html>"), "stripe_failed"),
    ],
)
async def test_where_stripe_gives_nothing_at_all_the_reason_is_raised(
    connection: psycopg.AsyncConnection, api: StripeApi, answer: Scripted, reason: str
) -> None:
    api.scripted = [answer] * 100
    with pytest.raises(StripeApiError) as error:
        await run(connection, api)
    assert error.value.reason == reason


async def test_a_transient_failure_is_retried(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.scripted = [Scripted(429, b'{"error": {"message": "slow"}}')] * 2
    assert (await run(connection, api)).equal


async def test_a_connected_account_is_requested_by_name(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    await run(connection, api, account="acct_7")
    assert {headers["Stripe-Account"] for _, headers in api.calls} == {"acct_7"}
