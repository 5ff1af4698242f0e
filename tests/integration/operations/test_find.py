"""The search by any id, and the journey of one event with everything related to it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import psycopg
import pytest

from operations.find.store import BY_OUR_ID, BY_REFERENCE, BY_THEIR_ID
from outbox.append import append
from runtime.ids import id_at, new_id, time_of
from schemas.envelope import Event
from tests.command import tallyhook_beside
from tests.gateways import SERVICE
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.gateways import Gateway

OWN: Final = {name: new_id() for name in ("lead", "notification", "task", "deadLetter", "replay", "erasure")}
ROWS: Final = f"""
insert into payments (provider, id, status, amount, amount_refunded, currency, reference, user_id, version, updated_at, state)
values ('stripe', 'pi_1', 'succeeded', 4990, 0, 'eur', 'order 7/8', 'user-7', 1, now(), '');
insert into reconciliations (reference, expected_amount, expected_currency, paid_amount, paid_currency, payment_id)
values ('order 7/8', 4990, 'eur', 4990, 'eur', 'pi_1');
insert into payments (provider, id, status, amount, amount_refunded, currency, reference, version, updated_at, state)
values ('stripe', 'pi_2', 'failed', 4990, 0, 'eur', 'order 9', 1, now(), '');
insert into reconciliations (reference, expected_amount, expected_currency, user_id) values ('order 9', 4990, 'eur', 'user-9');
insert into refunds (provider, id, status, amount, currency, version, updated_at, state)
values ('stripe', 're_1', 'failed', 10, 'eur', 1, now(), '');
insert into disputes (provider, id, status, amount, currency, version, updated_at, state)
values ('stripe', 'du_1', 'won', 10, 'eur', 1, now(), '');
insert into subscriptions (provider, id, status, version, updated_at, state) values ('stripe', 'sub_1', 'active', 1, now(), '');
insert into invoices (provider, id, status, amount_due, amount_paid, currency, version, updated_at, state)
values ('stripe', 'in_1', 'paid', 10, 10, 'eur', 1, now(), '');
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version)
values ('{OWN["lead"]}', 'ACME', 'acme', 'lead 42', 'delivered', '{{}}', '', now(), now(), 2);
insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
values ('{OWN["notification"]}', 'user-7', 'EMAIL', 'payment-failed', '{{}}', 'ada@example.com', 'm', 'sent', '');
insert into contacts (user_id, email, phone) values ('user-7', 'ada@example.com', '+4915112345678');
insert into tasks (id, kind) values ('{OWN["task"]}', 'cache.invalidate');
insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers)
values ('{OWN["deadLetter"]}', 'search', 'document_refused', '', 'properties', 3, 17, '[]');
insert into webhook_replays (id, requested_by, filters, rate) values ('{OWN["replay"]}', 'me', '{{}}', 1);
insert into erasures (id, kind, subject, reason, requested_by) values ('{OWN["erasure"]}', 'user', 'x', 'r', 'me');
"""


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(ROWS)
        yield connection


async def found(gateway: Gateway, wanted: str) -> list[dict[str, Any]]:
    response = await gateway.get(f"/v1/admin/find?q={quote(wanted, safe='')}")
    assert response.status == 200, await response.text()
    items: list[dict[str, Any]] = (await response.json())["items"]
    return items


CASES: Final = [
    *((str(own), [(kind, str(own))]) for kind, own in OWN.items()),
    *((own.hex.upper(), [(kind, str(own))]) for kind, own in OWN.items()),
    ("pi_1", [("payment", "pi_1")]),
    ("order 7/8", [("payment", "pi_1")]),
    ("order 9", [("payment", "pi_2")]),
    ("user-9", [("payment", "pi_2")]),
    ("re_1", [("refund", "re_1")]),
    ("du_1", [("dispute", "du_1")]),
    ("sub_1", [("subscription", "sub_1")]),
    ("in_1", [("invoice", "in_1")]),
    ("lead 42", [("lead", str(OWN["lead"]))]),
    ("user-7", [("contact", "user-7"), ("payment", "pi_1"), ("notification", str(OWN["notification"]))]),
    ("Ada@Example.com", [("contact", "user-7"), ("payment", "pi_1"), ("notification", str(OWN["notification"]))]),
    ("+4915112345678", [("contact", "user-7"), ("payment", "pi_1"), ("notification", str(OWN["notification"]))]),
    ("nothing has this", []),
    ("erased", []),
    (str(new_id()), []),
    ("00000000-0000-0000-0000-000000000000", []),
    ("x" * 320, []),
    ("'; drop table payments; --", []),
    ("%", []),
]


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(("wanted", "kinds"), CASES, ids=range(len(CASES)))  # each run has other ids
async def test_an_id_of_any_kind_is_found_with_a_path_that_reads_it(
    gateway: Gateway, wanted: str, kinds: list[tuple[str, str]]
) -> None:
    items = await found(gateway, wanted)
    assert [(item["kind"], item["id"]) for item in items] == kinds
    for item in items:
        assert (await gateway.get(item["link"])).status == 200, item
        assert "ada@example.com" not in json.dumps(item)


async def test_a_delivery_is_found_by_its_id_its_trace_and_the_providers_id(gateway: Gateway) -> None:
    answer = await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9"))
    own, trace = (await answer.json())["id"], answer.headers["X-Trace-Id"]
    assert {item["kind"] for item in await found(gateway, own)} == {"delivery", "event"}
    assert {(item["kind"], item["id"]) for item in await found(gateway, trace)} >= {("delivery", own)}
    assert [(item["kind"], item["id"]) for item in await found(gateway, "evt_9")] == [("event", own)]
    for item in [*await found(gateway, own), *await found(gateway, "evt_9")]:
        assert (await gateway.get(item["link"])).status == 200


async def test_no_row_of_an_erased_message_is_found_by_its_marker(gateway: Gateway, rows: psycopg.AsyncConnection) -> None:
    await rows.execute("update notifications set recipient = 'erased', address = 'erased'")
    assert await found(gateway, "erased") == []


@pytest.mark.parametrize("query", ["", "q=", "q=%00", "q=" + "x" * 321, "q=a&limit=0", "q=a&limit=501", "q=a&other=1", "q=a%0Ab"])
async def test_a_search_that_makes_no_sense_is_refused(gateway: Gateway, query: str) -> None:
    response = await gateway.get(f"/v1/admin/find?{query}")
    assert (response.status, (await response.json(content_type=None))["reason"]) == (400, "query_malformed")
    assert (await gateway.get(f"/v1/admin/find?{query}", SERVICE)).status in {400, 403}


async def test_the_search_has_an_index_for_every_id(rows: psycopg.AsyncConnection) -> None:
    values: dict[str, Any] = {"q": "a", "sources": ["stripe"], "limit": 5, "id": new_id()}
    await rows.execute("set enable_seqscan = off")
    statements = [*(f"{each} where id = %(id)s" for each in BY_OUR_ID.values()), *BY_THEIR_ID.values(), BY_REFERENCE]
    assert len(statements) > 15
    for statement in statements:
        plan = await (await rows.execute("explain " + statement, values)).fetchall()
        assert "Seq Scan" not in str(plan), statement


@pytest.mark.usefixtures("rows")
async def test_the_command_finds_the_same(database_url: str) -> None:
    environment = {"DATABASE_URL": database_url}
    done = await tallyhook_beside(environment, "find", "user-7", "--json")
    assert [item["kind"] for item in json.loads(done.stdout)["items"]] == ["contact", "payment", "notification"], done.stderr
    assert "/v1/admin/payments/pi_1" in (await tallyhook_beside(environment, "find", "pi_1")).stdout
    assert (await tallyhook_beside(environment, "find", "none")).stdout == "nothing has this id\n"
    refused = await tallyhook_beside(environment, "find", "x" * 400)
    assert (refused.returncode, refused.stdout) == (1, "")


def event_after(cause: dict[str, Any], kind: str, topic: str, **fields: Any) -> Event:
    kept = {
        name: cause[name] for name in ("aggregate_type", "aggregate_id", "occurred_at", "traceparent", "source", "dataschema")
    }
    return Event(**kept | {"id": new_id(), "topic": topic, "type": kind, "data": b"", "causation_id": cause["id"]} | fields)


async def caused(gateway: Gateway, database_url: str) -> tuple[UUID, Event, Event]:
    """A Stripe event, the event that it caused, and the message that this caused, with the aggregates of each."""
    await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9"))
    [cause] = await gateway.rows("outbox")
    effect = event_after(cause, "billing.payment.succeeded", "billing.payment.events")
    last = event_after(cause, "notification.send", "notification.commands", causation_id=effect.id, aggregate_id="user-7")
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await append(connection, [effect, last])
        await connection.execute("insert into consumed (event_id, consumer) values (%s, 'payments')", (cause["id"],))
        await connection.execute(
            "insert into history values ('payment', 'pi_9', %s, 'evt_9', 'payment_intent.succeeded', now())", (cause["id"],)
        )
        await connection.execute("insert into tasks (id, kind) values (%s, 'notification.send')", (last.id,))
        await connection.execute(
            """insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
               values (%s, 'user-7', 'EMAIL', 't', '{}', 'a@example.com', 'm', 'sent', '')""",
            (last.id,),
        )
        await connection.execute(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id)
               values (%s, 'search', 'document_refused', '', 'billing.payment.events', 2, 40, '[]', %s)""",
            (new_id(), effect.id),
        )
    return cause["id"], effect, last


async def test_an_event_is_read_with_its_causes_its_consequences_and_their_objects(gateway: Gateway, database_url: str) -> None:
    cause, effect, last = await caused(gateway, database_url)
    detail = await (await gateway.get(f"/v1/admin/events/{effect.id}")).json()
    assert detail["event"]["id"] == str(effect.id)
    assert [each["id"] for each in detail["causes"]] == [str(cause)]
    assert [(each["id"], each["causationId"]) for each in detail["caused"]] == [(str(last.id), str(effect.id))]
    assert {(each["kind"], each["id"]) for each in detail["touched"]} == {("task", str(last.id)), ("notification", str(last.id))}
    [letter] = detail["event"]["deadLetters"]
    assert (letter["partition"], letter["offset"], letter["consumer"]) == (2, 40, "search")
    assert "delivery" not in detail
    deepest = await (await gateway.get(f"/v1/admin/events/{last.id}")).json()
    assert [each["id"] for each in deepest["causes"]] == [str(cause), str(effect.id)]


@pytest.mark.parametrize("by", ["id", "evt_9", "pi_9"])
async def test_an_event_is_read_by_its_delivery_the_providers_id_and_its_payment(
    gateway: Gateway, database_url: str, by: str
) -> None:
    cause, effect, last = await caused(gateway, database_url)
    detail = await (await gateway.get(f"/v1/admin/events/{cause if by == 'id' else by}")).json()
    assert detail["delivery"]["eventId"] == "evt_9"
    assert [each["id"] for each in detail["caused"]] == [str(effect.id), str(last.id)]
    [mark] = detail["event"]["marks"]
    assert (mark["consumer"], mark["at"] > detail["delivery"]["receivedAt"]) == ("payments", True)
    assert ("payment", "pi_9") in [(each["kind"], each["id"]) for each in detail["touched"]]


async def test_the_consequences_of_a_worker_whose_clock_is_behind_are_found(gateway: Gateway, database_url: str) -> None:
    await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9"))
    [cause] = await gateway.rows("outbox")
    effect_id, last_id = (id_at(time_of(cause["id"]) - timedelta(seconds=seconds)) for seconds in (1, 59))
    effect = event_after(cause, "billing.payment.succeeded", "billing.payment.events", id=effect_id)
    command = event_after(cause, "notification.send", "notification.commands", id=last_id, causation_id=effect_id)
    sent = event_after(cause, "notification.sent", "notification.events", id=id_at(time_of(last_id)), causation_id=last_id)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await append(connection, [effect, command, sent])
        await connection.execute(
            """insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent)
               values (%s, 'user-7', 'EMAIL', 't', '{}', 'a@example.com', 'm', 'sent', '')""",
            (last_id,),
        )
    detail = await (await gateway.get(f"/v1/admin/events/{cause['id']}")).json()
    assert {each["id"] for each in detail["caused"]} == {str(each.id) for each in (effect, command, sent)}
    message = await (await gateway.get(f"/v1/admin/notifications/{last_id}")).json()
    assert {each["id"] for each in message["events"]} == {str(last_id), str(sent.id)}


async def test_the_tree_of_an_event_is_bounded(gateway: Gateway, database_url: str) -> None:
    cause, _, _ = await caused(gateway, database_url)
    [row] = [row for row in await gateway.rows("outbox") if row["id"] == cause]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        chain = [event_after(row, "billing.payment.succeeded", "billing.payment.events")]
        for _ in range(120):
            chain.append(event_after(row, "billing.payment.succeeded", "billing.payment.events", causation_id=chain[-1].id))
        await append(connection, chain)
    detail = await (await gateway.get(f"/v1/admin/events/{cause}")).json()
    assert (len(detail["caused"]), detail["more"]) == (100, True)
    deepest = await (await gateway.get(f"/v1/admin/events/{chain[-1].id}")).json()
    assert len(deepest["causes"]) == 20


@pytest.mark.parametrize(
    "asked", ["01a20e74-0deb-71bc-83dc-7d8a5b6f4f28", "evt_none", "00000000-0000-0000-0000-000000000000", "a%00b", "x" * 321]
)
async def test_an_unknown_event_is_not_found(gateway: Gateway, asked: str) -> None:
    response = await gateway.get(f"/v1/admin/events/{asked}")
    assert (response.status, (await response.json(content_type=None))["reason"]) == (404, "not_found")
