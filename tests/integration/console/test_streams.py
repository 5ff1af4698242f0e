"""Streams in the console: the graph with its links, outbox and relay, the lag of each partition, and Kafka being away."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from confluent_kafka import Producer

from console.screens import streams
from outbox.locks import Kind
from schemas.topics import TOPICS
from tests.console import NARROW, assert_sound, signed_in, visitor
from tests.kafka import settings_of
from tests.simulators.stripe import Payment
from tests.unit.topology.looks import topology
from tests.waiting import LIMIT, eventually
from topology.survey import Survey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.kafka import Cluster
    from tests.gateways import Gateway, StartGateway

PATH = "/console/streams"


@pytest.fixture
async def on_kafka(start_gateway: StartGateway, kafka_topics: Cluster) -> AsyncIterator[Gateway]:
    """A gateway on a Kafka that has every topic, and leaders for them."""
    async with start_gateway(**settings_of(kafka_topics)) as gateway:

        async def look() -> bool:
            return (await gateway.get("/v1/admin/topology")).status == 200

        await eventually(look)
        yield gateway


async def test_it_is_sound_with_kafka(on_kafka: Gateway) -> None:
    await assert_sound(on_kafka, PATH)


async def test_it_is_sound_without_kafka_and_shows_that_in_place(gateway: Gateway) -> None:
    await assert_sound(gateway, PATH)
    await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"))
    async with signed_in(gateway, PATH) as looked:
        await looked.page.get_by_text("Kafka does not answer").first.wait_for()
        await looked.page.locator('[data-name="outbox"] .count:text-is("1")').wait_for()
        assert await looked.page.locator('[data-name="relay"] .note').text_content() == "no process runs"


async def test_a_person_follows_a_box_and_looks_at_a_partition(on_kafka: Gateway) -> None:
    async with signed_in(on_kafka, PATH) as looked:
        await looked.page.get_by_text("Every partition").click()
        await looked.page.locator('th:has-text("webhooks.stripe 7")').wait_for()
        await looked.page.locator('[data-name="stripe"] a').click()
        await looked.page.wait_for_url("**/console/deliveries?source=stripe")
        assert looked.faults == []


async def test_on_a_phone_the_way_is_a_list_and_no_figure_is_cut_off(on_kafka: Gateway, kafka_topics: Cluster) -> None:
    async with signed_in(on_kafka, PATH, width=NARROW) as looked:
        await looked.page.get_by_text("every topic is read to its end").wait_for()
        assert await looked.page.locator(".graph").is_hidden()
        lag = looked.page.locator('#worker-payments td[data-of="Lag"]')
        assert (await lag.first.inner_text()).split() == ["0"]
        producer = Producer({"bootstrap.servers": kafka_topics.servers})
        for _ in range(3):
            producer.produce(kafka_topics.named("webhooks.stripe"), b"of a test", partition=5)
        assert await asyncio.to_thread(producer.flush, LIMIT) == 0
        await looked.page.get_by_text("3 to read").wait_for()
        await looked.page.locator(".flow").get_by_role("link", name="webhooks.stripe").click()
        assert looked.page.url.endswith("#worker-payments")
        assert (await lag.first.inner_text()).split() == ["3"]
        assert (await looked.overflowing(), looked.faults) == ([], [])


async def test_the_lag_of_the_last_minutes_is_drawn(on_kafka: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topology.survey.SAMPLED", timedelta(0))
    monkeypatch.setattr("topology.survey._FRESH", 0.0)
    async with signed_in(on_kafka, PATH) as looked:
        await looked.page.locator(".chart canvas").wait_for()
        assert "Payments" in await looked.page.locator(".chart").inner_text()
        assert looked.faults == []


async def test_every_box_has_a_page_that_is_there(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    text = (await operator.get(f"{PATH}/now")).text + (await operator.get(PATH)).text
    svg = text.partition("<svg")[2].partition("</svg>")[0]
    pages = re.findall(r'<a href="([^"]+)"', svg)
    assert len(pages) == svg.count('<g class="shape')
    assert len(pages) > len(TOPICS)
    for page in {*pages}:
        if page.startswith("#"):
            assert f'id="{page[1:]}"' in text, page
        else:
            assert (await operator.get(page)).status == 200, page


async def test_the_relays_are_counted_by_their_locks(gateway: Gateway, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as relay:
        relay.execute("select pg_advisory_lock_shared(%s, 0)", (Kind.RELAY,))
        relay.execute("select pg_advisory_lock(%s, n) from generate_series(0, 62) n", (Kind.RELAY_SHARD,))
        found = (await (await gateway.get("/v1/admin/overview")).json())["relay"]
        assert found == {"relays": 1, "shards": 63, "of": 64}
        text = (await (await visitor(gateway, database_url)).get(f"{PATH}/now")).text
        assert "1 process, 63/64" in text


def test_the_chart_has_a_gap_for_times_without_a_sample_or_without_kafka() -> None:
    survey, now = Survey(None), datetime(2026, 11, 28, tzinfo=UTC)
    for seconds in (0, 5, 6, 60):
        survey.keep(topology({"webhooks.stripe": seconds}), now + timedelta(seconds=seconds))
    chart = streams.chart_of(survey, {"payments": "Payments", "leads": "Leads"})
    begin = now.timestamp()
    assert chart["columns"] == [[begin, begin + 5, begin + 10, begin + 60], [0, 5, None, 60], [0, 0, None, 0]]
