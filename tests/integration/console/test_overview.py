"""The overview of a system that works, that has faults, and whose servers are away."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import psycopg

from console.links import page_of_alert
from console.screens import overview
from operations.ledger import books
from outbox import alerts
from tests.console import assert_sound, signed_in, visitor
from tests.integration.console.leads_in import lead_in
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from datetime import datetime

    import pytest

    from tests.gateways import Gateway, StartGateway, Wire

RECEIVED = '.tile:has-text("received") b'


async def test_it_is_sound_without_anything_to_show(gateway: Gateway) -> None:
    await assert_sound(gateway, "/console/overview")


async def test_it_is_sound_with_data_and_counts_new_deliveries(gateway: Gateway) -> None:
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"))
    await gateway.post(b"{}", secret="wrong")
    await gateway.resources.rejections.flush()
    async with signed_in(gateway) as looked:
        await looked.page.wait_for_selector(f'{RECEIVED}:text-is("2")')
        assert await looked.page.get_by_role("heading", name="The ledger balances").is_visible()
        await looked.page.locator(".chart canvas").wait_for()
        await gateway.post(Payment(id="pi_2").succeeded(event_id="evt_2"))
        await looked.page.wait_for_selector(f'{RECEIVED}:text-is("3")')
        assert looked.faults == []
    await assert_sound(gateway, "/console/overview")


async def test_it_names_the_source_that_does_not_balance(gateway: Gateway, database_url: str) -> None:
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"))
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from webhook_deliveries")
    async with signed_in(gateway) as looked:
        verdict = await looked.page.locator(".verdict").inner_text()
        assert ("does not balance" in verdict, "1 rows of stripe" in verdict) == (True, True)


async def test_a_lead_that_waits_for_an_operator_is_an_open_dead_letter(gateway: Gateway, database_url: str) -> None:
    lead_in(database_url, "exhausted")
    operator = await visitor(gateway, database_url)
    text = (await operator.get("/console/overview")).text
    counts = re.findall(r'<dd><a href="/console/dead-letters">(\d+)</a>', text)
    assert ("There are none: every event" in text, counts) == (False, ["0", "0", "1"])
    assert '<b>1</b><span><a href="/console/dead-letters">open dead letters' in text
    await assert_sound(gateway, "/console/overview")


async def test_an_open_alert_leads_to_its_screen_and_names_its_runbook(gateway: Gateway, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        for condition in alerts.CONDITIONS:
            await alerts.count_occurrences(connection, condition, "search", condition.threshold, detail="of a test")
    operator = await visitor(gateway, database_url)
    text = (await operator.get("/console/overview/troubles")).text
    for condition in alerts.CONDITIONS:
        assert (condition.alert in text, condition.runbook in text) == (True, True), condition.alert
        if page := page_of_alert(condition.alert):
            assert (page.replace("&", "&amp;") in text, (await operator.get(page)).status) == (True, 200)


async def test_the_ledger_of_a_day_is_read_once_for_all_viewers(
    start_gateway: StartGateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = books.read

    async def counted(connection: psycopg.AsyncConnection, begin: datetime, end: datetime) -> books.Ledger:
        nonlocal reads
        reads += 1
        return await read(connection, begin, end)

    monkeypatch.setattr(books, "read", counted)
    monkeypatch.setattr(overview, "_FRESH", 3600.0)
    async with start_gateway() as gateway:
        operator = await visitor(gateway, database_url)
        answers = await asyncio.gather(*(operator.get("/console/overview/account") for _ in range(8)))
    assert [(each.status, "The ledger balances" in each.text, " ago" in each.text) for each in answers] == [(200, True, True)] * 8
    assert reads == 1


async def test_an_account_that_takes_long_holds_no_page_up(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = asyncio.Event()
    read = books.read

    async def slow(connection: psycopg.AsyncConnection, begin: datetime, end: datetime) -> books.Ledger:
        await counted.wait()
        return await read(connection, begin, end)

    monkeypatch.setattr(books, "read", slow)
    monkeypatch.setattr(overview, "_PATIENCE", 0.1)
    async with start_gateway() as gateway, signed_in(gateway) as looked:
        await looked.page.get_by_role("heading", name="The ledger is being counted").wait_for()
        counted.set()
        await looked.page.get_by_role("heading", name="The ledger balances").wait_for()
        assert looked.faults == []


async def test_without_kafka_it_shows_that_in_place(gateway: Gateway) -> None:
    async with signed_in(gateway) as looked:
        await looked.page.get_by_text("Kafka does not answer").wait_for()
        assert await looked.page.get_by_role("heading", name="The ledger balances").is_visible()


async def test_it_shows_that_the_connection_is_lost_and_that_it_is_back(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway, signed_in(gateway) as looked:
        lost = looked.page.locator("#lost")
        assert await lost.is_hidden()
        wire.cut()
        await lost.wait_for(state="visible", timeout=60_000)
        wire.mend()
        await lost.wait_for(state="hidden", timeout=60_000)
