"""The topology on the internal listener: Kafka's numbers if it answers, a clear refusal if it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from schemas.topics import TOPICS
from tests.gateways import ADMIN, SERVICE
from tests.kafka import settings_of
from tests.waiting import eventually
from topology.view import Topology

if TYPE_CHECKING:
    from runtime.kafka import Cluster
    from tests.gateways import Gateway, StartGateway

PATH = "/v1/admin/topology"
PAGE = ADMIN | {"Accept": "text/html,application/xhtml+xml"}


async def test_it_is_the_declared_record_with_the_numbers_of_kafka(start_gateway: StartGateway, kafka_topics: Cluster) -> None:
    async with start_gateway(**settings_of(kafka_topics)) as gateway:

        async def look() -> Topology | None:
            answer = await gateway.get(PATH)
            # Kafka is still choosing leaders for the topics that were made just now.
            assert answer.status in (200, 503)
            assert (answer.content_type == "application/json") == (answer.status == 200)
            return msgspec.json.decode(await answer.read(), type=Topology) if answer.status == 200 else None

        seen = await eventually(look)
        assert seen.kafka.live
        assert len(seen.partitions) == sum(spec.partitions for spec in TOPICS.values())
        assert not [topic.name for topic in seen.topics if topic.missing]
        assert seen.lag == sum(reader.lag for partition in seen.partitions for reader in partition.readers)
        page = await gateway.get(PATH, PAGE)
        assert (page.status, page.content_type) == (200, "text/html")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "<svg" in await page.text()


@pytest.mark.parametrize("servers", [{"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, {}], ids=["away", "unset"])
async def test_without_kafka_it_refuses_and_names_the_declared_graph(
    start_gateway: StartGateway, servers: dict[str, str]
) -> None:
    async with start_gateway(**servers) as gateway:
        answer = await gateway.get(PATH)
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["reason"], answer.headers["Retry-After"]) == (503, "kafka_unavailable", "2")
        assert "from=declared" in problem["detail"]
        page = await gateway.get(PATH, PAGE)
        assert page.status == 503
        assert "billing.payment.events" in await page.text()
        declared = await gateway.get(f"{PATH}?from=declared")
        assert declared.status == 200
        seen = msgspec.json.decode(await declared.read(), type=Topology)
        assert (seen.kafka.live, seen.lag, len(seen.topics)) == (False, None, len(TOPICS))


async def test_it_is_for_operators_and_takes_no_other_parameter(gateway: Gateway) -> None:
    assert (await gateway.get(PATH, SERVICE)).status == 403
    assert (await gateway.get(PATH, {})).status == 401
    for query in ("from=elsewhere", "live=false"):
        answer = await gateway.get(f"{PATH}?{query}")
        assert (answer.status, (await answer.json(content_type=None))["reason"]) == (400, "query_malformed")
