"""Payments, subscriptions and invoices in the console: found, compared with what was expected, and traced to their events."""

from __future__ import annotations

import asyncio
import html
import os
import re
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.rows import dict_row

from console.screens import money
from projections import lists
from projections.expectations import expect
from runtime.tracing import new_trace
from schemas.envelope import Event
from streams.payments.handler import PaymentsHandler
from tests.console import READER, assert_sound, signed_in, visitor
from tests.gateways import SECRET, SERVICE
from tests.simulators.stripe import START, Invoice, Payment, Subscription

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

SCRIPT = "<script>document.title='got in'</script>"
KEPT = "id, topic, source, type, aggregate_id, occurred_at, dataschema, traceparent, data"


async def delivered(gateway: Gateway, database_url: str, *bodies: bytes) -> None:
    """Deliver events to the gateway, and have the payments worker handle the stored events."""
    for body in bodies:
        assert (await gateway.post(body)).status == 200
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
        found = await (
            await connection.execute(f"select {KEPT} from outbox where topic = 'webhooks.stripe' order by id")
        ).fetchall()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await PaymentsHandler().handle(connection, [Event(**row) for row in found])


async def expected(database_url: str, reference: str, amount: int, currency: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await expect(connection, reference, amount, currency, "user-7", new_trace())


async def filled(gateway: Gateway, database_url: str) -> None:
    """One of each, with every state that a page shows apart."""
    await expected(database_url, "order-1", 2990, "eur")
    paid = Payment(id="pi_1", amount=1990, currency="eur", metadata={"order_id": "order-1"})
    whole = Payment(id="pi_2", amount=50_000, currency="isk")
    yen = Payment(id="pi_3", amount=500, currency="jpy")
    await delivered(
        gateway,
        database_url,
        paid.succeeded(),
        paid.refunded(500, START + 5),
        paid.refund("refund.created", 500, START + 5, id="re_1", status="succeeded"),
        paid.disputed("created", START + 9, id="du_1"),
        whole.succeeded(),
        yen.failed(),
        Invoice(id="in_1", subscription="sub_1", amount=500, currency="jpy").paid(),
        Subscription(id="sub_1").created(),
    )


async def test_the_list_is_sound_empty_and_full(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, "/console/money")
    await filled(gateway, database_url)
    await assert_sound(gateway, "/console/money")


async def test_invoices_and_the_page_of_a_payment_are_sound(gateway: Gateway, database_url: str) -> None:
    await filled(gateway, database_url)
    for path in ("invoices", "payments/pi_1"):
        await assert_sound(gateway, f"/console/money/{path}")


async def test_each_thing_has_a_page(gateway: Gateway, database_url: str) -> None:
    await filled(gateway, database_url)
    operator = await visitor(gateway, database_url)
    for path in ("refunds/re_1", "disputes/du_1", "subscriptions/sub_1", "invoices/in_1", "subscriptions"):
        assert (await operator.get(f"/console/money/{path}")).status == 200, path


async def test_a_person_finds_the_payment_just_made_and_its_journey(gateway: Gateway, database_url: str) -> None:
    await delivered(gateway, database_url, Payment(id="pi_1", amount=2990, currency="eur").succeeded(event_id="evt_1"))
    async with signed_in(gateway) as looked:
        await looked.page.get_by_role("searchbox", name="Find any id").fill("pi_1")
        await looked.page.keyboard.press("Enter")
        await looked.page.wait_for_url(f"{gateway.internal}/console/money/payments/pi_1")
        assert await looked.page.get_by_text("29.90 EUR").is_visible()
        # The journey reloads at once; leaving the page meanwhile would cancel that request, which counts as a fault.
        async with looked.page.expect_event("requestfinished", lambda request: request.url.endswith("/steps")):
            await looked.page.get_by_role("link", name="payment_intent.succeeded").click()
        await looked.page.get_by_text("stripe called").wait_for()
        await looked.page.get_by_role("link", name="pi_1").first.click()  # the journey links back to the changed objects
        await looked.page.wait_for_url("**/money/payments/pi_1")
        assert looked.faults == []


async def test_a_person_finds_the_mismatched_one_and_reads_what_was_expected(gateway: Gateway, database_url: str) -> None:
    await filled(gateway, database_url)
    async with signed_in(gateway, "/console/money") as looked:
        await looked.page.get_by_role("link", name="Mismatched").click()
        await looked.page.get_by_text("expected 29.90 EUR").wait_for()
        assert await looked.page.locator("tbody tr").count() == 1
        await looked.page.get_by_role("link", name="pi_1", exact=True).click()
        await looked.page.get_by_text("Reconciliation: mismatched").wait_for()
        assert "29.90 EUR was expected, and the amount of this payment is 19.90 EUR" in await looked.page.inner_text("main")
        await looked.page.get_by_role("link", name="re_1").click()
        await looked.page.wait_for_url("**/money/refunds/re_1")
        assert looked.faults == []
    operator = await visitor(gateway, database_url)
    unexpected = (await operator.get("/console/money?reconciliation=unexpected")).text
    assert [name in unexpected for name in ("pi_1", "pi_2", "pi_3")] == [False, True, True]


async def test_amounts_are_as_the_provider_counts_them(gateway: Gateway, database_url: str) -> None:
    await filled(gateway, database_url)
    operator = await visitor(gateway, database_url)
    text = (await operator.get("/console/money")).text
    assert [amount in text for amount in (">500 ISK<", ">500 JPY<", ">19.90 EUR<", "5.00 EUR refunded")] == [True] * 4
    assert "500 JPY" in (await operator.get("/console/money/invoices/in_1")).text


async def test_filters_and_the_cursor_lead_through_the_list(gateway: Gateway, database_url: str) -> None:
    payments = [Payment(id=f"pi_{n}", currency="eur" if n % 2 else "usd") for n in range(5)]
    await delivered(gateway, database_url, *(each.succeeded(START + n) for n, each in enumerate(payments)))
    operator = await visitor(gateway, database_url)
    seen: list[str] = []
    at = "/console/money?currency=USD&limit=2"
    while at:
        text = (await operator.get(at)).text
        seen += re.findall(r'money/payments/(pi_\d)"', text)
        at = html.unescape(found[1]) if (found := re.search(r'href="([^"]*cursor=[^"]*)"', text)) else ""
    assert seen == ["pi_4", "pi_2", "pi_0"]
    wrong = await operator.get("/console/money?currency=euro")
    assert (wrong.status, '<p class="alarm" role="alert">' in wrong.text) == (400, True)


async def test_a_page_without_a_match_leads_further(gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS_READ_MAX", 2)
    late = [Payment(id=f"pi_{n}").succeeded(START + n) for n in range(1, 3)]
    await delivered(gateway, database_url, Payment(id="pi_0").failed(START), *late)
    async with signed_in(gateway, "/console/money?status=failed") as looked:
        await looked.page.get_by_role("link", name="Search older ones").click()
        await looked.page.get_by_role("link", name="pi_0").wait_for()
        assert looked.faults == []


@pytest.mark.parametrize("listing", money.LISTINGS)
async def test_the_commands_in_an_empty_list_fill_it(gateway: Gateway, database_url: str, listing: str) -> None:
    operator = await visitor(gateway, database_url)
    path = "/console/money" if listing == "payments" else f"/console/money/{listing}"
    await run_block((await operator.get(path)).text, gateway)
    await delivered(gateway, database_url)
    assert f"/console/money/{listing}/" in (await operator.get(path)).text


async def test_an_expectation_is_stated_as_the_empty_list_shows(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    await run_block((await operator.get("/console/money?reconciliation=mismatched")).text, gateway)
    assert [row["reference"] for row in await gateway.rows("reconciliations")] == ["order-7"]


async def run_block(page: str, gateway: Gateway) -> None:
    """Run the block of an empty state in a shell, as a user would."""
    (block,) = re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    variables = {"STRIPE_WEBHOOK_SECRET": SECRET, "PUBLIC_URL": gateway.public, "INTERNAL_URL": gateway.internal}
    environment = os.environ | variables | {"INTERNAL_API_TOKEN": SERVICE["X-Internal-Token"]}
    command = html.unescape(block).replace("curl ", "curl -fsS ")
    done = await asyncio.create_subprocess_exec("bash", "-c", command, env=environment, stderr=asyncio.subprocess.PIPE)
    _, complaint = await done.communicate()
    assert done.returncode == 0, complaint


async def test_input_of_strangers_is_shown_as_text_and_a_readers_view_is_masked(
    start_gateway: StartGateway, database_url: str
) -> None:
    hostile = Payment(id=f"pi_{SCRIPT}", metadata={"order_id": SCRIPT, "user_id": "ada.lovelace@example.com"})
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        await delivered(gateway, database_url, hostile.succeeded())
        async with signed_in(gateway, "/console/money") as looked:
            await looked.page.get_by_role("rowheader").get_by_role("link").click()
            await looked.page.get_by_text("Reconciliation: unexpected").wait_for()
            assert SCRIPT in str(await looked.page.locator("[data-copy]").first.get_attribute("data-copy"))
            assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        reader, operator = [await visitor(gateway, database_url, role=role) for role in ("reader", "admin")]
        seen = [("lovelace" in (await each.get("/console/money")).text) for each in (operator, reader)]
        assert seen == [True, False]
        assert "example.com" not in (await reader.get("/console/money")).text


async def test_an_unknown_id_is_reported(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    for wanted in ("pi_9", "%C3%A4", "x" * 400):
        answer = await operator.get(f"/console/money/payments/{wanted}")
        assert (answer.status, "no payment has this id" in answer.text) == (404, True), wanted
