"""The first page of a worker's web: its figures are those of the metrics and of Kafka, and refresh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import requests

from streams.dashboard import Dashboard, WorkerFigures
from tests.integration.streams.test_topology import exposed, kafka, produce, worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS: Final = 10_000

__all__ = ["kafka"]


def figures(web: str) -> WorkerFigures:
    """Those of the only role."""
    answer = requests.get(f"{web}/", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    [found] = msgspec.json.decode(answer.content, type=Dashboard).workers
    return found


def counted(web: str, name: str) -> int:
    """The sum of a metric over all its labels."""
    lines: Iterator[str] = iter(requests.get(f"{web}/metrics", timeout=10).text.splitlines())
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} "))))


def test_the_figures_agree_with_the_metrics_and_with_the_partitions(kafka: str, database_url: str) -> None:
    produce(kafka, EVENTS)
    with worker(kafka, database_url) as web:
        wait_until(lambda: figures(web).handled >= EVENTS and figures(web).lag == 0, seconds=120, every=0.2)
        found = figures(web)
        events = counted(web, "tallyhook_worker_handled_total") + counted(web, "tallyhook_worker_repeated_total")
        assert found.handled + found.repeated == events == sum(agent.events for agent in found.agents)
        assert counted(web, "tallyhook_worker_batch_events_sum") == events
        assert (found.retries, found.dead_letters, found.in_hand, found.waiting) == (0, 0, 0, False)
        assert {agent.name: (agent.partitions, agent.lag) for agent in found.agents} == {
            "webhooks.stripe": (8, 0),
            "webhooks.razorpay": (8, 0),
        }
        assert sum(exposed(web).values()) == 0
        stripe, razorpay = sorted(found.agents, key=lambda agent: -agent.events)
        assert (stripe.in_hand, razorpay.events, razorpay.p50, razorpay.p99) == (0, 0, None, None)
        assert 0 < stripe.chunks <= stripe.events
        assert stripe.p50 is not None
        assert stripe.p99 is not None
        assert stripe.p50 <= stripe.p99
        page = requests.get(f"{web}/", headers={"Accept": "text/html"}, timeout=10)
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert f'<td class="number" data-of="Events">{stripe.events:,}</td>' in page.text
        assert 'href="/topology"' in page.text
        [again] = requests.get(f"{web}/agents.json", timeout=10).json()["workers"]
        assert again.keys() == msgspec.to_builtins(found).keys()
        for off in ("/router/", "/table/", "/graph/", "/performance/"):
            assert requests.get(f"{web}{off}", timeout=10).status_code == 404
