"""Events that Stripe sent while we were away are taken from its list of events, once, by the real SDK over real HTTP."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.webhooks.intake import Intake
from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from operations.backfill.run import BackfillRequest, Report, backfill
from operations.backfill.stripe_api import StripeApiError, StripeEvents
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.stripe import HANDLED_TYPES
from tests.command import tallyhook
from tests.rows import rows
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, StripeApi

if TYPE_CHECKING:
    import subprocess

NOW: Final = datetime.now(UTC)
SINCE: Final = NOW - timedelta(hours=2)
AT: Final = int(NOW.timestamp()) - 3600
NO_PAUSES: Final = (0.0, 0.0)


async def run(connection: psycopg.AsyncConnection, api: StripeApi, **changes: Any) -> Report:
    request = BackfillRequest(**{"since": SINCE, "until": NOW, "rate": 10_000.0, **changes})
    report = Report(since=request.since, until=request.until, dry_run=request.dry_run)
    pages = StripeEvents(KEY, api.url, pauses=NO_PAUSES, retries=2).pages(request.since, request.until, request.types)
    return await backfill(connection, pages, request, report)


def figures(report: Report) -> tuple[int, ...]:
    return report.seen, report.known, report.missing, report.put_in, report.ignored, report.failed


async def test_missing_events_are_put_in_and_present_ones_are_left_alone(
    connection: psycopg.AsyncConnection, api: StripeApi, database_url: str
) -> None:
    bodies = [stripe.Payment().succeeded(AT + n) for n in range(5)]
    api.hold(*bodies)
    await arrive(database_url, bodies[2])
    assert figures(await run(connection, api)) == (5, 1, 4, 4, 0, 0)
    deliveries = await rows(connection, "select * from webhook_deliveries order by id")
    assert [(d["outcome"], d["source"]) for d in deliveries] == [("accepted", "stripe")] * 5
    assert [(d["secret_id"], d["headers"]) for d in deliveries[1:]] == [(None, {"X-Tallyhook-Origin": "backfill"})] * 4
    assert len(await rows(connection, "select * from outbox_pending")) == 5


async def test_events_of_the_other_mode_are_left_out(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    test, live = stripe.Payment().succeeded(AT), stripe.Payment().succeeded(AT + 1)
    api.hold(test, live.replace(b'"livemode": false', b'"livemode": true'))
    assert figures(await run(connection, api, mode="live", types=["payment_intent.succeeded"])) == (2, 0, 1, 1, 1, 0)
    assert [row["livemode"] for row in await rows(connection, "select livemode from webhook_deliveries")] == [True]


async def test_a_second_run_puts_nothing_in(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.hold(*(stripe.Payment().succeeded(AT + n) for n in range(3)))
    await run(connection, api)
    before = await rows(connection, "select * from webhook_deliveries order by id")
    assert figures(await run(connection, api)) == (3, 3, 0, 0, 0, 0)
    assert await rows(connection, "select * from webhook_deliveries order by id") == before


async def test_a_webhook_that_comes_after_all_is_a_duplicate(
    connection: psycopg.AsyncConnection, api: StripeApi, database_url: str
) -> None:
    body = stripe.Payment().succeeded(AT)
    api.hold(body)
    await run(connection, api)
    await arrive(database_url, body)
    assert [d["outcome"] for d in await rows(connection, "select * from webhook_deliveries order by id")] == [
        "accepted",
        "duplicate",
    ]


async def test_a_dry_run_counts_and_changes_nothing(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.hold(*(stripe.Payment().succeeded(AT + n) for n in range(3)))
    assert figures(await run(connection, api, dry_run=True)) == (3, 0, 3, 0, 0, 0)
    for table in ("webhook_deliveries", "outbox", "outbox_pending", "dedup", "audit_log"):
        assert await rows(connection, f"select * from {table}") == []


async def test_every_page_is_read_and_the_body_is_what_the_list_holds(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    bodies = [stripe.Payment(amount=n + 1).succeeded(AT + n) for n in range(250)]
    api.hold(*bodies)
    assert (await run(connection, api)).put_in == 250
    assert len(api.asked) == 3
    stored = {row["data"] for row in await rows(connection, "select data from outbox")}
    assert sorted(map(json.dumps, map(json.loads, stored))) == sorted(map(json.dumps, map(json.loads, bodies)))


async def test_only_the_requested_time_is_put_in(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    inside, before, after = (stripe.Payment().succeeded(int(at.timestamp())) for at in (SINCE, SINCE - timedelta(1), NOW))
    api.hold(inside, before, after)
    assert figures(await run(connection, api)) == (1, 0, 1, 1, 0, 0)


async def test_types_without_a_handler_are_counted_and_left_out_unless_they_are_requested(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    assert "customer.created" not in HANDLED_TYPES
    api.hold(
        stripe.event("customer.created", {"object": "customer", "id": "cus_1"}, at=AT),
        stripe.event("customer.created", {"object": "customer", "id": "cus_2"}, at=AT),
        stripe.Payment().succeeded(AT),
    )
    report = await run(connection, api)
    assert (figures(report), report.ignored_types) == ((3, 0, 1, 1, 2, 0), {"customer.created": 2})
    assert figures(await run(connection, api, types=["customer.created"])) == (2, 0, 2, 2, 0, 0)
    found = await rows(connection, "select outcome, type from webhook_deliveries order by id")
    assert [each["outcome"] for each in found] == ["accepted", "ignored", "ignored"]


async def test_an_event_that_is_none_fails_alone(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    odd = json.loads(stripe.Payment().succeeded(AT))
    odd["livemode"] = "yes"
    unstorable = stripe.Payment(id="pi_\0").succeeded(AT)
    api.hold(json.dumps(odd).encode(), unstorable, *(stripe.Payment().succeeded(AT) for _ in range(3)))
    report = await run(connection, api)
    assert figures(report) == (5, 0, 3, 3, 0, 2)
    assert {(each.id, each.reason) for each in report.failures} == {
        (odd["id"], "event_malformed"),
        (json.loads(unstorable)["id"], "event_unstorable"),
    }


@pytest.mark.parametrize("failures", [[500, 503], [429, 429]], ids=["Stripe fails", "Stripe is called too often"])
async def test_a_transient_failure_is_retried(connection: psycopg.AsyncConnection, api: StripeApi, failures: list[int]) -> None:
    api.hold(stripe.Payment().succeeded(AT))
    api.failures = failures
    assert (await run(connection, api)).put_in == 1
    assert len(api.asked) == 3


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ([429] * 3, "stripe_called_too_often"),
        ([500] * 3, "stripe_failed"),
        ([403], "stripe_key_refused"),
        ([400], "stripe_refuses"),
    ],
)
async def test_a_permanent_failure_has_its_reason(
    connection: psycopg.AsyncConnection, api: StripeApi, failures: list[int], reason: str
) -> None:
    api.failures = failures
    with pytest.raises(StripeApiError) as error:
        await run(connection, api)
    assert error.value.reason == reason


async def arrive(database_url: str, body: bytes) -> None:
    """Take the event in as the gateway does."""
    arrival = Arrival(new_id(), new_trace().traceparent, "0" * 8, body, CIMultiDictProxy(CIMultiDict()))
    intake = Intake(database_url)
    await intake.open()
    try:
        await intake.until_ready()
        await intake.record(translate(arrival))
    finally:
        await intake.close()


def backfill_command(api: StripeApi, database_url: str, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    environment = {"DATABASE_URL": database_url, "STRIPE_API_KEY": key, "STRIPE_API_BASE": api.url, "USER": "x"}
    return tallyhook(environment, "backfill", "stripe", *arguments)


def test_the_command_reports_how_many_were_missing_and_who_ran_it(api: StripeApi, database_url: str) -> None:
    api.hold(*(stripe.Payment().succeeded(AT + n) for n in range(3)))
    done = backfill_command(api, database_url, "--since", "2h", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["seen"], printed["missing"], printed["putIn"], printed["known"]) == (3, 3, 3, 0)
    again = backfill_command(api, database_url, "--since", "2h")
    assert re.search(r"3 had arrived\n +0 never arrived, 0 of them recorded now", again.stdout)
    with psycopg.connect(database_url) as connection:
        [(method, path)] = {*connection.execute("select method, path from audit_log").fetchall()}
    assert (method, path) == ("CLI", "tallyhook backfill stripe")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "60d", "--until", "40d"], "last 30 days only"),
        (["--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["--since", "1h", "--types", ",".join(f"a.b{n}" for n in range(21))], "20 types"),
        (["--since", "soon"], "'soon' is neither a time"),
    ],
)
def test_a_failure_is_reported_in_one_line(api: StripeApi, database_url: str, arguments: list[str], message: str) -> None:
    done = backfill_command(api, database_url, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert api.asked == []


def test_a_time_before_those_that_stripe_keeps_is_clipped_and_reported(api: StripeApi, database_url: str) -> None:
    done = backfill_command(api, database_url, "--since", "60d", "--dry-run")
    assert done.returncode == 0
    assert "last 30 days only: this run begins at" in done.stderr
    [asked] = api.asked
    assert abs(int(asked["created[gte]"]) - (datetime.now(UTC) - timedelta(days=30)).timestamp()) < 60


def test_a_wrong_key_is_reported_and_never_shown(api: StripeApi, database_url: str) -> None:
    done = backfill_command(api, database_url, "--since", "1h", key="rk_wrong_but_secret")
    assert done.returncode == 1
    assert done.stderr == "tallyhook: stripe_key_refused: Stripe does not know this STRIPE_API_KEY\n"
