"""Commands to send a notification, and to set the contact data of a user."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from runtime.ids import new_id
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from tests.gateways import Gateway

PAID: dict[str, Any] = {"providerPaymentId": "pi_1", "amount": 2990, "currency": "eur"}


async def ask(gateway: Gateway, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    url = f"{gateway.internal}/internal/v1/{path}"
    async with gateway.client.request(method, url, json=body, headers=headers or SERVICE) as answer:
        return answer.status, await answer.json(content_type=None)


def command(**changes: Any) -> dict[str, Any]:
    return {"to": "u-1", "channel": "EMAIL", "template": "payment-succeeded", "data": PAID} | changes


async def test_a_notification_is_durable_with_its_task_before_it_is_answered(gateway: Gateway) -> None:
    status, answer = await ask(gateway, "POST", "notifications/send", command(data={**PAID, "undeclared": "x"}))
    assert (status, answer["enqueued"]) == (202, True)
    [event] = await gateway.rows("outbox")
    [task] = await gateway.rows("tasks")
    assert str(event["id"]) == str(task["id"]) == answer["id"]
    assert (event["topic"], event["type"], task["status"]) == ("notification.commands", "notification.send", "pending")
    assert json.loads(event["data"]) == command()


@pytest.mark.parametrize(
    ("changes", "reason", "fields"),
    [
        ({"channel": "FAX"}, "channel_unknown", None),
        ({"template": "nothing"}, "template_unknown", None),
        ({"data": {"currency": "eur"}}, "data_missing", ["providerPaymentId", "amount"]),
        ({"data": {**PAID, "amount": "29.90"}}, "data_invalid", ["amount"]),
        ({"data": {**PAID, "currency": "e\0r"}}, "data_invalid", ["currency"]),
        ({"to": ""}, "field_invalid", None),
        ({"to": "a@example.com\nBcc: b@example.com"}, "field_invalid", None),
        ({"data": None}, "field_invalid", None),
    ],
)
async def test_a_wrong_command_is_refused_with_every_fault(
    gateway: Gateway, changes: dict[str, Any], reason: str, fields: list[str] | None
) -> None:
    status, problem = await ask(gateway, "POST", "notifications/send", command(**changes))
    assert (status, problem["reason"], problem.get("fields")) == (422, reason, fields)
    assert await gateway.rows("outbox") == []


async def test_a_notification_without_a_token_is_refused(gateway: Gateway) -> None:
    status, problem = await ask(gateway, "POST", "notifications/send", command(), {"X-Internal-Token": "other"})
    assert (status, problem["reason"]) == (401, "token_wrong")


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_contact_is_stored_and_replaced_as_a_whole(gateway: Gateway, method: str) -> None:
    whole = {"email": "zoe@example.com", "phone": "+4915112345678", "push": "token-1", "optOuts": ["SMS", "EMAIL", "SMS"]}
    status, put = await ask(gateway, method, "contacts/u-1", whole)
    assert (status, put["userId"], put["optOuts"]) == (200, "u-1", ["EMAIL", "SMS"])
    assert await ask(gateway, "GET", "contacts/u-1", None) == (200, put)
    status, put = await ask(gateway, method, "contacts/u-1", {"email": "z@example.com"})
    assert {name: put.get(name) for name in ("email", "phone", "push", "optOuts")} == {
        "email": "z@example.com", "phone": None, "push": None, "optOuts": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"email": "nobody"},
        {"email": "a@example.com\r\nBcc: b@example.com"},
        {"email": "a@example.com, b@example.com"},
        {"phone": "0151 12345678"},
        {"push": "two words"},
        {"optOuts": ["FAX"]},
    ],
)
async def test_an_address_that_cannot_be_one_is_refused(gateway: Gateway, body: dict[str, Any]) -> None:
    status, problem = await ask(gateway, "PUT", "contacts/u-1", body)
    assert (status, problem["reason"]) == (422, "field_invalid")


@pytest.mark.parametrize(
    "address", ["jo@gmail..com", "jo@gmail.com.", "jo@[10.0.0.1", ".jo@gmail.com", "=?utf-8?q?jo?=@gmail.com"]
)
async def test_an_address_that_no_mailbox_can_have_is_refused_at_once(gateway: Gateway, address: str) -> None:
    status, problem = await ask(gateway, "PUT", "contacts/u-1", {"email": address})
    assert (status, problem["reason"], problem["fields"]) == (422, "address_invalid", ["email"])
    status, problem = await ask(gateway, "POST", "notifications/send", {**command(), "to": address})
    assert (status, problem["reason"], problem["fields"]) == (422, "address_invalid", ["to"])


@pytest.mark.parametrize(("letters", "length"), [((0x4E00, 0x9FFF), 2048), ((0x1F300, 0x1F5FF), 2048), ((0x61, 0x7A), 2049)])
async def test_a_recipient_that_no_index_holds_is_refused(gateway: Gateway, letters: tuple[int, int], length: int) -> None:
    random = Random(1)
    to = "".join(chr(random.randint(*letters)) for _ in range(length))
    status, problem = await ask(gateway, "POST", "notifications/send", {**command(), "to": to})
    assert (status, problem["reason"]) == (422, "field_invalid")


async def test_an_international_address_is_taken(gateway: Gateway) -> None:
    assert (await ask(gateway, "PUT", "contacts/u-1", {"email": "zoë@bücher.example"}))[0] == 200


async def test_a_contact_that_was_never_stored_is_not_found(gateway: Gateway) -> None:
    status, problem = await ask(gateway, "GET", "contacts/u-2", None)
    assert (status, problem["reason"]) == (404, "not_found")


async def test_a_notification_that_no_worker_has_taken_is_not_found(gateway: Gateway) -> None:
    for name in (str(new_id()), "nonsense"):
        assert (await gateway.get(f"/v1/admin/notifications/{name}", ADMIN)).status == 404
