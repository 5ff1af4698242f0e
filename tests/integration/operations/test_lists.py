"""The lists of current state: their filters, their pages, and what a page costs on a large table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from operations.state.query import InvoicesQuery, LeadsQuery, NotificationsQuery, PaymentsQuery, SubscriptionsQuery
from projections import lists
from runtime.ids import id_at
from tests.command import tallyhook_beside
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from operations.state.query import StateQuery
    from tests.gateways import Gateway

MANY: Final = 100_000
NOW: Final = datetime(2026, 11, 28, tzinfo=UTC)
_ID: Final = "(lpad(to_hex(1700000000000 + n), 12, '0') || '7000800000000000' || lpad(to_hex(n), 4, '0'))::uuid"
# Ids in the order of n, as UUIDv7: each has its own millisecond.
FILL: Final = f"""
insert into payments (provider, id, status, amount, amount_refunded, currency, reference, customer_id, user_id, version,
  updated_at, state)
select 'stripe', 'pi_' || n, case when n = 7 then 'failed' else 'succeeded' end, 100, 0,
  case when n % 10 = 0 then 'usd' else 'eur' end, 'r-' || n, 'cus_' || n % 1000, case when n % 5000 = 0 then 'user-1' end, 1,
  timestamptz '2026-01-01' + n / 2 * interval '1 second', ''
from generate_series(1, {{many}}) n;
insert into reconciliations (reference, expected_amount, expected_currency, user_id, paid_amount, paid_currency, payment_id)
select 'r-' || n, case when n % 20000 = 1 then 99 else 100 end, case when n % 10 = 0 then 'usd' else 'eur' end,
  case when n = 3 then 'user-1' end, 100, case when n % 10 = 0 then 'usd' else 'eur' end, 'pi_' || n
from generate_series(1, {{many}}) n where n % 20000 <> 2;
insert into subscriptions (provider, id, status, customer_id, version, updated_at, state)
select 'stripe', 'sub_' || n, case when n % 2 = 0 then 'active' else 'past_due' end, 'cus_' || n, 1,
  timestamptz '2026-01-01' + n * interval '1 second', ''
from generate_series(1, {{many}}) n;
insert into invoices (provider, id, status, amount_due, amount_paid, currency, subscription_id, version, updated_at, state)
select 'stripe', 'in_' || n, case when n % 2 = 0 then 'paid' else 'open' end, 100, 100, 'eur', 'sub_' || n % 1000, 1,
  timestamptz '2026-01-01' + n * interval '1 second', ''
from generate_series(1, {{many}}) n;
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version)
select {_ID}, case when n % 1000 = 0 then 'SMALL' else 'ACME' end, case when n % 1000 = 0 then 'small' else 'acme' end,
  'lead-' || n, 'delivered', '{{{{}}}}', '', timestamptz '2026-01-01', timestamptz '2026-01-01', 2
from generate_series(1, {{many}}) n;
insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
select {_ID}, 'user-' || n % 1000, 'EMAIL', 'payment-failed', '{{{{}}}}', 'a@example.com', 'm', 'sent', ''
from generate_series(1, {{many}}) n;
"""
QUERIES: Final[list[tuple[lists.List[Any], StateQuery]]] = [
    (lists.PAYMENTS, PaymentsQuery()),
    (lists.PAYMENTS, PaymentsQuery(status="failed", currency="EUR", mode="live", account="acct_1", customer="cus_1")),
    (lists.PAYMENTS, PaymentsQuery(reconciliation="unexpected")),
    (lists.PAYMENTS, PaymentsQuery(reconciliation="matched", limit=500)),
    (lists.PAYMENTS, PaymentsQuery(user="user-1", status="succeeded")),
    (lists.PAYMENTS, PaymentsQuery(since=datetime(2026, 1, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 1, 2, tzinfo=UTC))),
    (lists.SUBSCRIPTIONS, SubscriptionsQuery(status="past_due", provider="stripe")),
    (lists.SUBSCRIPTIONS, SubscriptionsQuery(status="none has this")),
    (lists.INVOICES, InvoicesQuery(status="void", currency="eur")),
    (lists.INVOICES, InvoicesQuery(subscription="sub_7")),
    (lists.LEADS, LeadsQuery()),
    (lists.LEADS, LeadsQuery(status="exhausted")),
    (lists.LEADS, LeadsQuery(partner="small")),
    (lists.LEADS, LeadsQuery(partner="acme", status="retrying")),
    (lists.NOTIFICATIONS, NotificationsQuery(user="user-7")),
    (lists.NOTIFICATIONS, NotificationsQuery(status="failed", channel="SMS", template="payment-failed")),
]


@pytest.fixture(scope="module")
def many(postgres_server: str, template_database: str) -> Iterator[str]:
    """The address of a database with many rows of each kind; the tests only read it."""
    name = "many_" + template_database
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as server:
        server.execute(f'create database "{name}" template "{template_database}" strategy file_copy')
    with psycopg.connect(f"{postgres_server}/{name}", autocommit=True) as connection:
        connection.execute(FILL.format(many=MANY))
        connection.execute("analyze")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as server:
        server.execute(f'drop database "{name}" with (force)')


@pytest.fixture
async def reader(many: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(many, autocommit=True) as connection:
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize(("which", "query"), QUERIES, ids=lambda value: getattr(value, "table", None) or repr(value)[:60])
@pytest.mark.parametrize("onward", [False, True])
async def test_a_page_of_a_large_table_walks_an_index_and_no_more_than_it_may(
    reader: psycopg.AsyncConnection, which: lists.List[Any], query: StateQuery, onward: bool
) -> None:
    asked = query.list_query(NOW)
    if onward:
        middle = await lists.read(reader, which, asked._replace(values={}, limit=40))
        asked = asked._replace(last=middle.last)
        assert asked.last is not None
    values = {
        **asked.values,
        "first": asked.first,
        "before": asked.before,
        "looked": lists.rows_read(which, asked.values.keys()),
        "more": asked.limit + 1,
    }
    values |= {f"last_{name}": value for name, value in zip(which.order, asked.last or (), strict=False)}
    explained = "explain (analyze, timing off, format json) " + lists.statement(which, asked.values.keys(), onward=onward)
    row = await (await reader.execute(explained, values, prepare=False)).fetchone()
    assert row
    for node in nodes(row[0][0]["Plan"]):
        assert node["Node Type"] != "Seq Scan", node
        assert "Sort" not in node["Node Type"] or node["Actual Rows"] < 100, node
        assert node["Actual Rows"] * node["Actual Loops"] <= values["looked"], node


@pytest.mark.parametrize("which", [lists.PAYMENTS, lists.SUBSCRIPTIONS, lists.INVOICES], ids=lambda which: which.table)
async def test_a_page_far_down_does_not_read_the_pages_before_it(reader: psycopg.AsyncConnection, which: lists.List[Any]) -> None:
    order = ", ".join(which.order)
    row = await (await reader.execute(f"select {order} from {which.table} order by {order} offset 20 limit 1")).fetchone()
    assert row
    values = {
        "first": datetime.min.replace(tzinfo=UTC),
        "before": datetime.max.replace(tzinfo=UTC),
        "looked": lists.ROWS_READ_MAX,
        "more": 51,
    }
    values |= {f"last_{name}": value for name, value in zip(which.order, row, strict=True)}
    explained = "explain (analyze, buffers, timing off, format json) " + lists.statement(which, [], onward=True)
    plan = await (await reader.execute(explained, values, prepare=False)).fetchone()
    assert plan
    found = plan[0][0]["Plan"]
    assert found["Actual Rows"] == 20
    assert found["Shared Hit Blocks"] + found["Shared Read Blocks"] < 200


async def test_the_cursor_of_a_later_period_begins_at_the_end_of_an_earlier_one(reader: psycopg.AsyncConnection) -> None:
    query = PaymentsQuery(limit=10)
    newest = await lists.read(reader, lists.PAYMENTS, query.list_query(NOW))
    assert newest.last is not None
    end = newest.items[-1].updated_at
    earlier = query.list_query(NOW)._replace(before=end)
    first = await lists.read(reader, lists.PAYMENTS, earlier)
    assert first.items
    assert all(item.updated_at < end for item in first.items)
    assert await lists.read(reader, lists.PAYMENTS, earlier._replace(last=newest.last)) == first


async def test_a_filter_of_a_joined_table_reads_fewer_rows(reader: psycopg.AsyncConnection) -> None:
    found = await lists.read(reader, lists.PAYMENTS, PaymentsQuery(reconciliation="mismatched", limit=500).list_query(NOW))
    assert found.last is not None
    read = await (
        await reader.execute("select count(*) from payments where (updated_at, id, provider) >= (%s, %s, %s)", found.last)
    ).fetchone()
    assert read == (lists.ROWS_JOINED_MAX,)


async def test_joined_tables_are_read_for_matching_rows_only(reader: psycopg.AsyncConnection) -> None:
    asked = PaymentsQuery(status="failed").list_query(NOW)
    values = {
        **asked.values,
        "first": asked.first,
        "before": asked.before,
        "looked": lists.ROWS_READ_MAX,
        "more": asked.limit + 1,
    }
    explained = "explain (analyze, timing off, format json) " + lists.statement(lists.PAYMENTS, asked.values.keys(), onward=False)
    row = await (await reader.execute(explained, values, prepare=False)).fetchone()
    assert row
    plan = [*nodes(row[0][0]["Plan"])]
    assert [node["Actual Rows"] for node in plan if node.get("Relation Name") == "payments"] == [lists.ROWS_READ_MAX]
    joined = [node["Actual Loops"] for node in plan if node.get("Relation Name") in {"reconciliations", "invoices"}]
    assert joined
    assert max(joined) == 1  # the last row that was read, from which the next page starts


async def test_every_row_is_listed_once_in_its_order_whatever_the_pages(reader: psycopg.AsyncConnection) -> None:
    seen: list[str] = []
    asked = PaymentsQuery(customer="cus_7", limit=30).list_query(NOW)
    pages = 0
    while True:
        found = await lists.read(reader, lists.PAYMENTS, asked)
        seen += [item.provider_payment_id for item in found.items]
        pages += 1
        if found.last is None:
            break
        asked = asked._replace(last=found.last)
    expected = await (
        await reader.execute(
            "select id from payments where customer_id = 'cus_7' order by updated_at desc, id desc, provider desc"
        )
    ).fetchall()
    assert seen == [row[0] for row in expected]
    assert pages > MANY // lists.ROWS_READ_MAX


async def test_a_page_without_a_fitting_row_leads_on_to_the_one_that_fits(reader: psycopg.AsyncConnection) -> None:
    asked = PaymentsQuery(status="failed").list_query(NOW)
    pages = [await lists.read(reader, lists.PAYMENTS, asked)]
    while pages[-1].last is not None:
        pages.append(await lists.read(reader, lists.PAYMENTS, asked._replace(last=pages[-1].last)))
    assert [len(page.items) for page in pages[:4]] == [0, 0, 0, 0]
    assert [item.provider_payment_id for page in pages for item in page.items] == ["pi_7"]


async def test_a_payment_is_found_by_its_user_and_by_the_user_who_was_expected_to_pay(reader: psycopg.AsyncConnection) -> None:
    found = await lists.read(reader, lists.PAYMENTS, PaymentsQuery(user="user-1").list_query(NOW))
    assert [item.provider_payment_id for item in found.items] == [f"pi_{n}" for n in range(MANY, 0, -5000)] + ["pi_3"]
    assert {item.user_id for item in found.items} == {"user-1"}
    assert found.last is None


async def test_an_unpaid_payment_is_found_by_the_user_who_is_expected_to_pay(gateway: Gateway, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(FILL.format(many=10))
        await connection.execute(
            """insert into payments
                 (provider, id, status, amount, amount_refunded, currency, reference, version, updated_at, state)
               select 'stripe', id, 'failed', 100, 0, 'eur', reference, 1, '2026-01-02', ''
               from (values ('pi_unpaid', 'r-unpaid'), ('pi_again', 'r-3')) v(id, reference);
               insert into reconciliations (reference, expected_amount, expected_currency, user_id)
               values ('r-unpaid', 100, 'eur', 'user-1')"""
        )
    answer = await (await gateway.get("/v1/admin/payments?user=user-1")).json()
    # A second payment of a reference that another one has paid is nobody's.
    assert {(item["providerPaymentId"], item["userId"]) for item in answer["items"]} == {
        ("pi_unpaid", "user-1"),
        ("pi_3", "user-1"),
    }


async def test_unexpected_payments_and_those_of_another_amount_are_found(reader: psycopg.AsyncConnection) -> None:
    found: dict[str, list[str]] = {"mismatched": [], "unexpected": []}
    for outcome, ids in found.items():
        asked = PaymentsQuery(reconciliation=outcome, limit=500).list_query(NOW)  # type: ignore[arg-type]  # a word of the list
        page = await lists.read(reader, lists.PAYMENTS, asked)
        while page.last is not None:
            ids += [item.provider_payment_id for item in page.items]
            page = await lists.read(reader, lists.PAYMENTS, asked._replace(last=page.last))
        ids += [item.provider_payment_id for item in page.items]
    steps = range(MANY - 20_000, -1, -20_000)
    assert found == {"mismatched": [f"pi_{n + 1}" for n in steps], "unexpected": [f"pi_{n + 2}" for n in steps]}


PATHS: Final = ("payments", "subscriptions", "invoices", "leads", "notifications")


async def fill(database_url: str, many: int) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(FILL.format(many=many))


@pytest.mark.parametrize("path", PATHS)
async def test_a_list_pages_by_its_cursor_over_http(gateway: Gateway, database_url: str, path: str) -> None:
    await fill(database_url, 5)
    seen: list[Any] = []
    at: str | None = f"/v1/admin/{path}?limit=2"
    while at:
        response = await gateway.get(at)
        assert response.status == 200, await response.text()
        page = await response.json()
        seen += page["items"]
        at = f"/v1/admin/{path}?limit=2&cursor={page['next']}" if "next" in page else None
    ids = [item.get("id") or item["providerPaymentId"] for item in seen]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)


async def test_an_item_has_what_an_operator_looks_for(gateway: Gateway, database_url: str) -> None:
    await fill(database_url, 5)
    [payment] = (await (await gateway.get("/v1/admin/payments?user=user-1")).json())["items"]
    assert payment == {
        "providerPaymentId": "pi_3", "provider": "stripe", "status": "succeeded", "amount": 100, "amountRefunded": 0,
        "currency": "eur", "reference": "r-3", "reconciliation": "matched", "expectedAmount": 100, "expectedCurrency": "eur",
        "customerId": "cus_3", "userId": "user-1", "version": 1, "updatedAt": "2026-01-01T00:00:01Z",
    }  # fmt: skip
    leads = (await (await gateway.get("/v1/admin/leads?partner=Acme&status=delivered&limit=1")).json())["items"]
    assert [lead["externalLeadId"] for lead in leads] == ["lead-5"]
    assert "payload" not in leads[0]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=x", "cursor=!", "cursor=AAAA", "cursor=" + "A" * 400, "cursor=" + "A" * 500,
        "status=lost%00", "from=yesterday", "state=paid", "user=%00", "status=" + "x" * 300,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", PATHS)
async def test_a_query_that_makes_no_sense_is_refused_by_its_reason(gateway: Gateway, path: str, query: str) -> None:
    response = await gateway.get(f"/v1/admin/{path}?{query}")
    assert (response.status, (await response.json(content_type=None))["reason"]) == (400, "query_malformed")


@pytest.mark.parametrize(
    "path", ["payments?status=lost", "leads?status=lost", "invoices?currency=euro", "payments?provider=paypal"]
)
async def test_an_unknown_word_is_refused_and_not_an_empty_list(gateway: Gateway, path: str) -> None:
    response = await gateway.get(f"/v1/admin/{path}")
    assert (response.status, (await response.json(content_type=None))["reason"]) == (400, "query_malformed")


async def test_the_cursor_of_another_list_is_refused(gateway: Gateway, database_url: str) -> None:
    await fill(database_url, 5)
    cursors = {path: (await (await gateway.get(f"/v1/admin/{path}?limit=1")).json())["next"] for path in ("payments", "leads")}
    assert (await gateway.get(f"/v1/admin/payments?cursor={cursors['leads']}")).status == 400


async def test_the_lists_are_for_operators(gateway: Gateway) -> None:
    assert {(await gateway.get(f"/v1/admin/{path}", SERVICE)).status for path in PATHS} == {403}
    assert {(await gateway.get(f"/v1/admin/{path}", ADMIN)).status for path in PATHS} == {200}


def test_the_times_of_ids_are_those_of_the_rows() -> None:
    asked = LeadsQuery(since=NOW).list_query(NOW)
    assert asked.first <= id_at(NOW) < asked.before


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("payments", "--reconciliation", "mismatched"), ["pi_1"]),
        (("payments", "--user", "user-1", "--provider", "stripe"), ["pi_3"]),
        (("subscriptions", "--status", "past_due", "--limit", "2"), ["sub_5", "sub_3"]),
        (("invoices", "--status", "paid", "--from", "2026-01-01T00:00:03"), ["in_4"]),
        (("leads", "--partner", "none"), []),
        (("notifications", "--user", "user-2"), ["user-2"]),
    ],
)
async def test_the_commands_list_the_same(database_url: str, words: tuple[str, ...], ids: list[str]) -> None:
    await fill(database_url, 5)
    group, *options = words
    done = await tallyhook_beside({"DATABASE_URL": database_url}, group, "list", *options, "--json")
    assert done.returncode == 0, done.stderr
    items = json.loads(done.stdout)["items"]
    assert [item.get("providerPaymentId") or item.get("to") or item["id"] for item in items] == ids
    shown = await tallyhook_beside({"DATABASE_URL": database_url}, group, "list", *options)
    assert [name in shown.stdout for name in ids] == [True] * len(ids)
    assert shown.stdout == shown.stdout.strip() + "\n"


async def test_a_command_refuses_a_word_that_it_does_not_know(database_url: str) -> None:
    done = await tallyhook_beside({"DATABASE_URL": database_url}, "payments", "list", "--status", "lost")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--status is one of pending, processing, succeeded" in done.stderr


async def test_a_command_goes_on_over_pages_until_it_has_enough(many: str) -> None:
    done = await tallyhook_beside({"DATABASE_URL": many}, "payments", "list", "--status", "failed", "--json")
    assert done.returncode == 0, done.stderr
    assert [item["providerPaymentId"] for item in json.loads(done.stdout)["items"]] == ["pi_7"]
