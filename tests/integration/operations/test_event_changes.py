"""The change that one event makes to an object of money: the state before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
import structlog

from operations.events import changes as module
from schemas.envelope import Event
from streams.payments.handler import PaymentsHandler
from tests.simulators.stripe import START, Invoice, Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway

_KEPT: Final = ("replay_id", "content_type")


async def receive(gateway: Gateway, *bodies: bytes) -> list[str]:
    """Post each event and have the payments worker handle it; return their ids."""
    return [str((await (await gateway.post(body)).json())["id"]) for body in bodies]


async def handle(gateway: Gateway, database_url: str, *bodies: bytes) -> list[str]:
    ids = await receive(gateway, *bodies)
    names = [name for name in Event.__struct_fields__ if name not in _KEPT]
    rows = [row for row in await gateway.rows("outbox") if str(row["id"]) in ids]
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await PaymentsHandler().handle(connection, [Event(**{name: row[name] for name in names}) for row in rows])
    return ids


async def changes(gateway: Gateway, event: str) -> dict[tuple[str, str], dict[str, tuple[Any, Any]] | None]:
    found = (await (await gateway.get(f"/v1/admin/events/{event}")).json()).get("changes", [])
    return {
        (each["kind"], each["id"]): None
        if each.get("unknown")
        else {field["name"]: (field.get("before"), field.get("after")) for field in each.get("fields", [])}
        for each in found
    }


async def test_each_event_shows_how_it_changed_the_payment(gateway: Gateway, database_url: str) -> None:
    payment = Payment(id="pi_1", metadata={"order_id": "o-1"})
    created, paid, partly, again = await handle(
        gateway,
        database_url,
        payment.created(START, event_id="evt_1"),
        payment.succeeded(START + 1, event_id="evt_2"),
        payment.refunded(500, START + 2, event_id="evt_3"),
        payment.created(START, event_id="evt_4"),
    )
    key = ("payment", "pi_1")
    first = (await changes(gateway, created))[key]
    assert first is not None
    assert {name: first[name] for name in ("status", "amount", "currency", "reference")} == {
        "status": (None, "pending"), "amount": (None, "1999"), "currency": (None, "usd"), "reference": (None, "o-1"),
    }  # fmt: skip
    assert await changes(gateway, paid) == {key: {"status": ("pending", "succeeded")}}
    refunded = (await changes(gateway, partly))[key]
    assert refunded == {"status": ("succeeded", "partially_refunded"), "amountRefunded": ("0", "500")}
    assert await changes(gateway, again) == {key: {}}


async def test_an_event_that_moves_two_things_shows_both(gateway: Gateway, database_url: str) -> None:
    invoice = Invoice(id="in_1")
    [event] = await handle(gateway, database_url, invoice.paid_by("pi_7", START, event_id="evt_1"))
    found = await changes(gateway, event)
    assert {kind for kind, _ in found} == {"invoice", "payment"}


async def test_one_that_is_not_handled_yet_changes_nothing(gateway: Gateway) -> None:
    [event] = await receive(gateway, Payment(id="pi_1").succeeded(event_id="evt_1"))
    assert await changes(gateway, event) == {("payment", "pi_1"): {}}


async def test_one_that_is_nested_too_deep_to_be_handled_is_shown(gateway: Gateway) -> None:
    """The gateway skips fields that it does not need; because of the fraction the worker parses the whole body."""
    body = Payment(id="pi_1").succeeded(event_id="evt_1", metadata="deep", amount=1999.0)
    deep = body.replace(b'"deep"', b'{"a":' * 700 + b"1" + b"}" * 700)
    [event] = await receive(gateway, deep)
    answer = await gateway.get(f"/v1/admin/events/{event}")
    assert (answer.status, "changes" in await answer.json()) == (200, False)


@pytest.mark.parametrize("lost", ["delete from outbox where id = %s", "update outbox set data = 'null' where id = %s"])
async def test_the_previous_state_is_unknown_if_an_earlier_event_is_gone(gateway: Gateway, database_url: str, lost: str) -> None:
    payment = Payment(id="pi_1")
    created, paid = await handle(
        gateway, database_url, payment.created(START, event_id="evt_1"), payment.succeeded(START + 1, event_id="evt_2")
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(lost, (created,))
    assert await changes(gateway, paid) == {("payment", "pi_1"): None}


async def test_it_is_unknown_where_the_earlier_events_are_too_large_together(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = Payment(id="pi_1")
    bodies = [payment.created(START, event_id="evt_1"), payment.succeeded(START + 1, event_id="evt_2")]
    created, paid = await handle(gateway, database_url, *bodies)
    monkeypatch.setattr(module, "_BYTES_MAX", sum(map(len, bodies)) - 1)
    assert (await changes(gateway, paid))["payment", "pi_1"] is None
    assert (await changes(gateway, created))["payment", "pi_1"] is not None


async def test_reading_again_logs_nothing(gateway: Gateway, database_url: str) -> None:
    left_out = Payment(id="pi_1", metadata={"order_id": "o\0"}).succeeded(event_id="evt_1")
    says_nothing = left_out.replace(b"payment_intent.succeeded", b"payment_intent.unheard_of").replace(b"evt_1", b"evt_2")
    with structlog.testing.capture_logs() as handled:
        ids = await handle(gateway, database_url, left_out, says_nothing)
    with structlog.testing.capture_logs() as looked:
        for each in ids:
            await changes(gateway, each)
    noted = {"words_left_out", "event_says_nothing"}
    assert [noted & {line["event"] for line in lines} for lines in (handled, looked)] == [noted, set()]
