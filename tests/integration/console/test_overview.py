"""The overview: what it says of a system at work, in trouble, and with servers away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.console import assert_sound, signed_in
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway, Wire

RECEIVED = '.tile:has-text("received") b'


async def test_it_is_sound_without_anything_to_show(gateway: Gateway) -> None:
    await assert_sound(gateway, "/console/overview")


async def test_it_is_sound_with_something_to_show_and_counts_what_comes_in(gateway: Gateway) -> None:
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


async def test_without_kafka_it_says_so_in_place(gateway: Gateway) -> None:
    async with signed_in(gateway) as looked:
        await looked.page.get_by_text("Kafka does not answer").wait_for()
        assert await looked.page.get_by_role("heading", name="The ledger balances").is_visible()


async def test_it_says_that_the_connection_is_lost_and_that_it_is_back(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway, signed_in(gateway) as looked:
        lost = looked.page.locator("#lost")
        assert await lost.is_hidden()
        wire.cut()
        await lost.wait_for(state="visible", timeout=60_000)
        wire.mend()
        await lost.wait_for(state="hidden", timeout=60_000)
