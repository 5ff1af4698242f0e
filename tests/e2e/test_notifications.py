"""Notifications arrive in the sinks of the local stack, over real SMTP and HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.stripe import random_id
from tests.system import ADMIN, SERVICE, System
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

PAID: dict[str, Any] = {"providerPaymentId": "pi_1", "amount": 4200, "currency": "usd"}


async def know(http: aiohttp.ClientSession, system: System, user_id: str, **reach: Any) -> None:
    async with http.put(f"{system.internal}/internal/v1/contacts/{user_id}", json=reach, headers=SERVICE) as answer:
        assert answer.status == 200, await answer.text()


async def send(http: aiohttp.ClientSession, system: System, to: str, channel: str) -> str:
    command = {"to": to, "channel": channel, "template": "payment-succeeded", "data": PAID}
    async with http.post(f"{system.internal}/internal/v1/notifications/send", json=command, headers=SERVICE) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


async def arrived(http: aiohttp.ClientSession, system: System, to: str) -> list[dict[str, Any]]:
    async def found() -> list[dict[str, Any]] | None:
        async with http.get(system.mail, params={"to": to}) as answer:
            return (await answer.json())["items"] or None

    return await eventually(found)


async def settled(http: aiohttp.ClientSession, system: System, notification: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        async with http.get(f"{system.internal}/v1/admin/notifications/{notification}", headers=ADMIN) as answer:
            view = await answer.json(content_type=None)
            return view if view.get("status") not in (404, "queued", "sending") else None

    return await eventually(found)


async def test_a_payer_gets_a_mail_with_the_amount_of_the_payment(system: System, http: aiohttp.ClientSession) -> None:
    user = random_id("u")
    await know(http, system, user, email=f"{user}@example.com")
    payment = stripe.Payment(amount=2990, currency="eur", metadata={"user_id": user})
    assert (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200
    [mail] = await arrived(http, system, f"{user}@example.com")
    assert (mail["channel"], mail["subject"]) == ("EMAIL", "Your payment of 29.90 EUR has arrived")
    assert payment.id in mail["text"]
    [(notification,)] = system.query("select id from notifications where recipient = %s", user)
    view = await settled(http, system, str(notification))
    assert (view["status"], view["to"], view["attempts"], view["messageId"]) == ("sent", user, 1, mail["messageId"])
    assert [event["type"] for event in view["events"]] == ["notification.send", "notification.sent"]


async def test_a_text_and_a_push_reach_their_providers(system: System, http: aiohttp.ClientSession) -> None:
    user = random_id("u")
    phone = f"+49{int(time.time())}"
    await know(http, system, user, phone=phone, push=f"token-{user}")
    for channel, to in (("SMS", phone), ("PUSH", f"token-{user}")):
        notification = await send(http, system, user, channel)
        [message] = await arrived(http, system, to)
        view = await settled(http, system, notification)
        assert (message["channel"], message["messageId"], view["status"]) == (channel, view["messageId"], "sent")
        assert "42.00 USD" in message["text"]


async def test_a_user_who_opted_out_gets_nothing_and_the_task_reports_it(system: System, http: aiohttp.ClientSession) -> None:
    user = random_id("u")
    await know(http, system, user, email=f"{user}@example.com", optOuts=["EMAIL"])
    notification = await send(http, system, user, "EMAIL")
    assert (await settled(http, system, notification))["status"] == "suppressed"
    async with http.get(f"{system.internal}/internal/v1/tasks/{notification}", headers=SERVICE) as answer:
        task = await answer.json()
    assert (task["kind"], task["status"], task["result"]["status"]) == ("notification.send", "done", "suppressed")


async def test_the_sink_has_a_page_for_people(system: System, http: aiohttp.ClientSession) -> None:
    user = random_id("u")
    await know(http, system, user, email=f"{user}@example.com")
    await send(http, system, user, "EMAIL")
    await arrived(http, system, f"{user}@example.com")
    async with http.get(system.mail, headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
    assert f"{user}@example.com" in page
    assert "42.00 USD" in page


async def test_a_paused_channel_holds_its_messages_until_it_goes_on(system: System, http: aiohttp.ClientSession) -> None:
    async def pause(paused: object) -> None:
        body = {"key": "channel.PUSH.paused", "value": paused}
        async with http.post(f"{system.internal}/internal/v1/config", json=body, headers=ADMIN) as answer:
            assert answer.status == 200, await answer.text()

    user = random_id("u")
    await know(http, system, user, push=f"token-{user}")
    await pause(True)
    try:
        started = time.monotonic()
        await eventually(passed(started, seconds=2.5))  # by then every worker has read it
        notification = await send(http, system, user, "PUSH")
        await eventually(lambda: queued(http, system, notification))
        await eventually(passed(time.monotonic(), seconds=1.5))  # three polls of the channel
        assert await queued(http, system, notification)
    finally:
        await pause(False)
    assert (await settled(http, system, notification))["status"] == "sent"


def passed(since: float, *, seconds: float) -> Callable[[], Awaitable[bool | None]]:
    async def look() -> bool | None:
        return time.monotonic() - since > seconds or None

    return look


async def queued(http: aiohttp.ClientSession, system: System, notification: str) -> bool | None:
    async with http.get(f"{system.internal}/v1/admin/notifications/{notification}", headers=ADMIN) as answer:
        return (await answer.json(content_type=None)).get("status") == "queued" or None
