"""The delivery log in the console: filters, pages, and new deliveries without a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outbox import pages
from tests.console import assert_sound, signed_in, visitor
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    import pytest

    from tests.gateways import Gateway

ROWS = ".log summary"
LOOKS_AGAIN = """() => {
  const part = document.getElementById("rows");
  return htmx.trigger(part, "htmx:beforeRequest", { elt: part });
}"""
"""A script that returns whether the list would reload now."""


async def deliver(gateway: Gateway, count: int, **fields: str) -> None:
    for n in range(count):
        await gateway.post(Payment(id=f"pi_{n}").succeeded(event_id=f"evt_{n}"), **fields)


async def test_it_is_sound_empty_and_full(gateway: Gateway) -> None:
    await assert_sound(gateway, "/console/deliveries")
    await deliver(gateway, 2)
    await gateway.post(b"{}", secret="wrong")
    await gateway.resources.rejections.flush()
    await assert_sound(gateway, "/console/deliveries")


async def test_new_ones_come_without_a_reload_but_close_nothing_that_is_open(gateway: Gateway) -> None:
    async with signed_in(gateway, "/console/deliveries") as looked:
        await deliver(gateway, 1)
        await looked.page.wait_for_selector(ROWS)
        await looked.page.locator(ROWS).click()
        await looked.page.get_by_label("Body", exact=True).wait_for()
        await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9"))
        assert await looked.page.evaluate(LOOKS_AGAIN) is False
        await looked.page.locator(ROWS).click()
        await looked.page.locator(ROWS).nth(1).wait_for()
        assert looked.faults == []


async def test_filters_narrow_the_list_and_the_replay(gateway: Gateway) -> None:
    await deliver(gateway, 2)
    await gateway.post(b"{}", secret="wrong")
    await gateway.resources.rejections.flush()
    async with signed_in(gateway, "/console/deliveries") as looked:
        await looked.page.get_by_text("Filter", exact=True).click()
        await looked.page.get_by_label("Outcome").select_option("rejected")
        await looked.page.get_by_role("button", name="Show").click()
        await looked.page.wait_for_url("**outcome=rejected**")
        assert await looked.page.locator(ROWS).count() == 1
        await looked.page.get_by_role("button", name="Replay all that match").click()
        await looked.page.get_by_text("A replay of 1 delivery would").wait_for()
        assert looked.faults == []


async def test_older_ones_are_on_the_next_page(gateway: Gateway, database_url: str) -> None:
    await deliver(gateway, 3)
    operator = await visitor(gateway, database_url)
    first = (await operator.get("/console/deliveries?limit=2")).text
    following = first.partition('href="/console/deliveries?limit=2&amp;cursor=')[2].partition('"')[0]
    second = (await operator.get(f"/console/deliveries?limit=2&cursor={following}")).text
    assert (first.count("<details id="), second.count("<details id="), "Older ones" in second) == (2, 1, False)


async def test_an_invalid_filter_is_reported_on_the_page(gateway: Gateway, database_url: str) -> None:
    answer = await (await visitor(gateway, database_url)).get("/console/deliveries?from=yesterday")
    assert (answer.status, '<p class="alarm" role="alert">' in answer.text) == (400, True)


async def test_find_leads_to_the_page_of_a_rejected_one(gateway: Gateway, database_url: str) -> None:
    """It has no event, and so no journey."""
    await gateway.post(b"{}", secret="wrong")
    await gateway.resources.rejections.flush()
    [row] = await gateway.rows("webhook_deliveries")
    page = f"/console/deliveries/{row['id']}"
    operator = await visitor(gateway, database_url)
    found = await operator.get(f"/console/find?q={row['id']}")
    assert (found.status, found.headers["Location"]) == (303, page)
    async with signed_in(gateway, page) as looked:
        await looked.page.get_by_role("button", name="Would the present secrets").click()
        await looked.page.get_by_text("A replay of 1 delivery would").wait_for()
        assert looked.faults == []
    await assert_sound(gateway, page)


async def test_the_page_of_one_with_an_event_leads_to_its_journey(gateway: Gateway, database_url: str) -> None:
    await deliver(gateway, 1)
    [row] = await gateway.rows("webhook_deliveries")
    operator = await visitor(gateway, database_url)
    text = (await operator.get(f"/console/deliveries/{row['id']}")).text
    assert f'<a href="/console/journey/{row["id"]}">Its journey</a>' in text


async def test_a_page_looks_at_a_bounded_number_and_leads_on(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.post(Payment(id="pi_9").created(event_id="evt_9"))
    await deliver(gateway, 3)
    monkeypatch.setattr(pages, "ROWS_READ_MAX", 3)
    operator, asked = await visitor(gateway, database_url), "/console/deliveries?type=payment_intent.created"
    first = (await operator.get(asked)).text
    following = first.partition('href="/console/deliveries?type=payment_intent.created&amp;cursor=')[2].partition('"')[0]
    second = (await operator.get(f"{asked}&cursor={following}")).text
    assert [(text.count("<details id="), "Search older ones" in text) for text in (first, second)] == [(0, True), (1, False)]


async def test_the_keyboard_focus_stays_while_new_ones_arrive(gateway: Gateway) -> None:
    await deliver(gateway, 1)
    async with signed_in(gateway, "/console/deliveries") as looked:
        await looked.page.get_by_text("Filter", exact=True).focus()
        while not await looked.page.evaluate("document.activeElement.matches('.log summary')"):
            await looked.page.keyboard.press("Tab")
        assert await looked.page.evaluate(LOOKS_AGAIN) is False
        await looked.page.keyboard.press("Shift+Tab")
        assert await looked.page.evaluate(LOOKS_AGAIN) is True
