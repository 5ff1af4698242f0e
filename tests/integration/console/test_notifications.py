"""Notifications in the console: found, shown as their recipients see them, and template previews."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg.rows import dict_row

from projections import lists
from schemas.envelope import Event
from schemas.templates import TEMPLATES
from streams.notifications.handler import NotificationsHandler
from tests.console import READER, assert_sound, scripts_of, signed_in, visitor
from tests.gateways import SERVICE
from tests.integration.console.test_money import KEPT, run_block

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

SCRIPT: Final = "<script>document.title='got in'</script>"
PAID: Final = {"providerPaymentId": "pi_1", "amount": 50_000, "currency": "isk", "provider": "stripe"}
LIST: Final = "/console/notifications"
COMPLAINT: Final = '<p class="alarm" role="alert">'


async def handled(database_url: str) -> None:
    """Have the notifications worker handle the events of the gateway; it has a mail server and no other channel."""
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
        query = f"select {KEPT} from outbox where topic = 'notification.commands' order by id"
        found = await (await connection.execute(query)).fetchall()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await NotificationsHandler({"EMAIL"}, "tallyhook.test").handle(connection, [Event(**row) for row in found])


async def sent(gateway: Gateway, database_url: str, to: str = "ada@example.com", **fields: Any) -> str:
    """Give the command over HTTP, and have it handled; returns the id of the notification."""
    command = {"to": to, "channel": "EMAIL", "template": "payment-succeeded", "data": PAID} | fields
    path = f"{gateway.internal}/internal/v1/notifications/send"
    answer = await gateway.client.post(path, json=command, headers=SERVICE)
    assert answer.status == 202, await answer.text()
    await handled(database_url)
    return str((await answer.json())["id"])


def known(database_url: str, user: str) -> None:
    """A user with every kind of address."""
    row = (user, "ada@example.com", "+4915112345678", "tok", ["SMS"])
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into contacts (user_id, email, phone, push, opt_outs) values (%s, %s, %s, %s, %s)", row)


async def test_the_list_is_sound_empty_and_full(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, LIST)
    await sent(gateway, database_url)
    await sent(gateway, database_url, to="somebody", channel="SMS")
    await assert_sound(gateway, LIST)


async def test_a_message_and_a_template_are_sound(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, f"{LIST}/{await sent(gateway, database_url)}")
    await assert_sound(gateway, f"{LIST}/templates/payment-succeeded")


async def test_the_templates_are_sound(gateway: Gateway) -> None:
    await assert_sound(gateway, f"{LIST}/templates")


async def test_a_person_finds_a_message_and_reads_it(gateway: Gateway, database_url: str) -> None:
    message = await sent(gateway, database_url)
    async with signed_in(gateway) as looked:
        await looked.page.get_by_role("searchbox", name="Find any id").fill(message)
        await looked.page.keyboard.press("Enter")
        await looked.page.locator("tr", has_text="EMAIL payment-succeeded").get_by_role("link").click()
        await looked.page.wait_for_url(f"{gateway.internal}{LIST}/{message}")
        shown = looked.page.frame_locator("iframe").get_by_text("Thank you: your payment of 500 ISK has arrived.")
        await shown.wait_for()
        assert "Thank you: your payment of 500 ISK" in await looked.page.get_by_label("Message", exact=True).inner_text()
        assert await shown.evaluate("node => getComputedStyle(node).fontFamily") == "sans-serif"  # its own style is allowed
        await looked.page.get_by_role("link", name="notification.send").click()
        await looked.page.wait_for_url(f"{gateway.internal}/console/journey/{message}")
        assert looked.faults == []


async def test_one_that_failed_shows_the_reason(gateway: Gateway, database_url: str) -> None:
    await sent(gateway, database_url)
    failed = await sent(gateway, database_url, to="+4915112345678", channel="SMS")
    async with signed_in(gateway, LIST) as looked:
        await looked.page.get_by_role("link", name="Failed").click()
        await looked.page.locator("code", has_text="channel_not_configured").wait_for()
        assert await looked.page.locator("tbody tr").count() == 1
        await looked.page.get_by_role("rowheader").get_by_role("link").click()
        await looked.page.wait_for_url(f"**/{failed}")
        assert "runbooks/notifications.md" in await looked.page.inner_text("main")
        assert (await looked.page.locator("iframe").count(), looked.faults) == (0, [])


async def test_a_template_is_tried_out_with_other_data(gateway: Gateway) -> None:
    async with signed_in(gateway, f"{LIST}/templates") as looked:
        await looked.page.get_by_role("link", name="payment-refunded", exact=True).click()
        await looked.page.frame_locator("iframe").get_by_text("29.90 EUR").first.wait_for()
        await looked.page.get_by_label("Locale").fill("de-DE")
        await looked.page.get_by_label("amountRefunded").fill("123456")
        await looked.page.get_by_role("button", name="Show").click()
        await looked.page.frame_locator("iframe").get_by_text("1.234,56\N{NO-BREAK SPACE}\N{EURO SIGN}").first.wait_for()
        await looked.page.get_by_label("amountRefunded").fill("many")
        await looked.page.get_by_role("button", name="Show").click()
        await looked.page.get_by_text("payment-refunded needs amountRefunded as an integer").wait_for()
        assert looked.faults == []


@pytest.mark.parametrize("code", TEMPLATES)
async def test_every_template_has_a_preview_of_each_channel(gateway: Gateway, database_url: str, code: str) -> None:
    operator = await visitor(gateway, database_url)
    for channel in TEMPLATES[code].channels:
        answer = await operator.get(f"{LIST}/templates/{code}?channel={channel}")
        assert (answer.status, COMPLAINT in answer.text, 'aria-label="Message"' in answer.text) == (200, False, True)


async def test_a_mails_page_can_do_nothing(gateway: Gateway, database_url: str) -> None:
    hostile = {"alert": "disk", "subject": SCRIPT, "summary": f'<img src="https://example.com/x.png">{SCRIPT}', "runbook": SCRIPT}
    message = await sent(gateway, database_url, template="operator-alert", data=hostile)
    operator = await visitor(gateway, database_url)
    for path in (f"/{message}/page", f"/templates/operator-alert/page?{urlencode(hostile)}"):
        answer = await operator.get(LIST + path)
        policy = answer.headers["Content-Security-Policy"]
        assert [part in policy for part in ("sandbox;", "default-src 'none'", "frame-ancestors 'self'")] == [True] * 3
        assert ["unsafe-inline" in policy, "script-src" in policy, "allow-" in policy] == [False] * 3
        assert (scripts_of(answer.text), answer.headers["Cache-Control"]) == ([], "no-store")
    async with signed_in(gateway, f"{LIST}/{message}") as looked:
        await looked.page.frame_locator("iframe").get_by_text(SCRIPT).first.wait_for()
        assert SCRIPT in await looked.page.get_by_label("Message", exact=True).inner_text()
        assert ("got in" in await looked.page.title(), looked.faults) == (False, [])


async def test_a_reader_sees_no_message_and_no_address(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        message = await sent(gateway, database_url, to="ada.lovelace@example.com")
        await sent(gateway, database_url, to="someone", data={**PAID, "providerPaymentId": "pi_secret"})
        reader, operator = [await visitor(gateway, database_url, role=role) for role in ("reader", "admin")]
        for path in ("", f"/{message}"):
            seen = [(await each.get(LIST + path)).text for each in (operator, reader)]
            assert ["ada.lovelace" in text for text in seen] == [True, False], path
            assert ["500 ISK" in text for text in seen] == [bool(path), False], path
            assert ("someone" in seen[1]) is False
        assert (await reader.get(f"{LIST}/{message}/page")).status == 403


async def test_a_person_finds_a_user_and_where_messages_go(start_gateway: StartGateway, database_url: str) -> None:
    known(database_url, f"user-7{SCRIPT}")
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        async with signed_in(gateway) as looked:
            await looked.page.get_by_role("searchbox", name="Find any id").fill("Ada@example.com")
            await looked.page.keyboard.press("Enter")
            await looked.page.get_by_text("+4915112345678").wait_for()
            assert SCRIPT in str(await looked.page.locator("[data-copy]").first.get_attribute("data-copy"))
            address = looked.page.url.removeprefix(gateway.internal)
            assert ("Opted out of" in await looked.page.inner_text("main"), looked.faults) == (True, [])
        reader = await (await visitor(gateway, database_url, role="reader")).get(address)
        assert (reader.status, [each in reader.text for each in ("ada@", "+4915", "tok<", 'tok"')]) == (200, [False] * 4)


async def test_a_contact_is_sound(gateway: Gateway, database_url: str) -> None:
    known(database_url, "user-7")
    await assert_sound(gateway, f"{LIST}/contacts/user-7")


async def test_one_whose_data_was_erased_is_shown_as_erased(gateway: Gateway, database_url: str) -> None:
    message = await sent(gateway, database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update notifications set recipient = 'erased', data = '{}', address = 'erased'")
    operator = await visitor(gateway, database_url)
    page = await operator.get(f"{LIST}/{message}")
    assert (page.status, "its data was erased" in page.text) == (200, True)
    assert (await operator.get(f"{LIST}/{message}/page")).status == 404


async def test_the_commands_in_an_empty_list_fill_it(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    await run_block((await operator.get(LIST)).text, gateway)
    await handled(database_url)
    assert "ada@example.com" in (await operator.get(LIST)).text


async def test_filters_and_the_cursor_lead_through_the_list(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await sent(gateway, database_url, to=f"user{n % 2}@example.com") for n in range(6)]
    monkeypatch.setattr(lists, "ROWS_READ_MAX", 4)
    operator = await visitor(gateway, database_url)
    seen: list[str] = []
    at = f"{LIST}?status=queued&limit=3"
    while at:
        text = (await operator.get(at)).text
        seen += re.findall(rf'{LIST}/([0-9a-f-]{{36}})"', text)
        at = html.unescape(found[1]) if (found := re.search(r'href="([^"]*cursor=[^"]*)"', text)) else ""
    assert seen == ids[::-1]
    none = (await operator.get(f"{LIST}?status=failed")).text
    assert ("Search older ones" in none, "There is no" in none) == (True, False)
    wrong = await operator.get(f"{LIST}?status=lost")
    assert (wrong.status, COMPLAINT in wrong.text) == (400, True)
