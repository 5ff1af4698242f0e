"""A worker's pages in a real browser, on a screen and on a phone: live, complete, and without other hosts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser import browser, opened
from tests.integration.streams.test_topology import lag, produce, worker
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from playwright.async_api import Browser, Page

    from runtime.kafka import Cluster

WIDTHS: Final = (1280, 390)
EVENTS: Final = 7
EVENTS_OF_STRIPE: Final = 'tr:has-text("@webhooks.stripe") td[data-of="Events"]'
END_OF_STRIPE: Final = 'tr:has(td:text-is("webhooks.stripe")) td[data-of="End"]'
LIVE: Final = {"/": EVENTS_OF_STRIPE, "/topology": END_OF_STRIPE, "/topology?scope=system": END_OF_STRIPE}
"""A figure on each live page that counts Stripe's events."""


@asynccontextmanager
async def at_work(kafka: Cluster, database_url: str) -> AsyncIterator[str]:
    """A worker that has read every record; the address of its web server."""
    produce(kafka, 1)
    running = worker(kafka, database_url)
    web = await asyncio.to_thread(running.__enter__)
    try:
        await asyncio.to_thread(wait_until, lambda: lag(kafka) == 0, every=0.1)
        yield web
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def number(page: Page, selector: str) -> int:
    return int((await page.locator(selector).first.inner_text()).replace(",", ""))


async def until(page: Page, selector: str, fact: Callable[[int], bool]) -> None:
    async def look() -> bool | None:
        return fact(await number(page, selector)) or None

    await eventually(look, every=0.1)


@pytest.mark.parametrize("width", WIDTHS)
async def test_every_page_is_whole_and_its_figures_refresh_by_themselves(
    kafka_topics: Cluster, database_url: str, width: int
) -> None:
    async with at_work(kafka_topics, database_url) as web, browser() as chromium:
        for path, figure in LIVE.items():
            await assert_whole_and_live(chromium, web + path, figure, kafka_topics, width)
        async with opened(chromium, f"{web}/assignment/", width=width) as looked:
            shown = json.loads(await looked.page.locator("body").inner_text())
            assert {topic: sorted(mine) for topic, mine in shown["actives"].items()} == {
                topic: [*range(8)] for topic in ("webhooks.stripe", "webhooks.razorpay")
            }
            assert (looked.faults, await looked.overflowing()) == ([], [])


async def assert_whole_and_live(chromium: Browser, url: str, figure: str, kafka: Cluster, width: int) -> None:
    async with opened(chromium, url, width=width) as looked:
        loads: list[str] = []
        looked.page.on("framenavigated", lambda frame: loads.append(frame.url))
        before = await number(looked.page, figure)
        await asyncio.to_thread(produce, kafka, EVENTS)
        await until(looked.page, figure, lambda now: now == before + EVENTS)
        for closed in await looked.page.locator("summary").all():
            await closed.click()
        assert (url, loads, looked.faults, await looked.overflowing()) == (url, [], [], [])


async def test_one_click_leads_from_the_agents_to_the_topology_and_back(kafka_topics: Cluster, database_url: str) -> None:
    async with (
        at_work(kafka_topics, database_url) as web,
        browser() as chromium,
        opened(chromium, web, width=WIDTHS[0]) as looked,
    ):
        await looked.page.get_by_role("link", name="topology").first.click()
        await looked.page.wait_for_url(f"{web}/topology")
        assert await looked.page.locator(".graph").is_visible()
        await looked.page.get_by_role("link", name="agents").first.click()
        await looked.page.wait_for_url(f"{web}/")
        assert looked.faults == []
