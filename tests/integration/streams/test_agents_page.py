"""The first page of a worker's web server: its figures equal the metrics and Kafka's, and refresh."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import requests

from streams.dashboard import Dashboard, WorkerFigures
from tests.integration.streams.test_topology import exposed, produce, worker
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.kafka import Cluster

EVENTS: Final = 10_000
FEW: Final = 50


def figures(web: str) -> WorkerFigures:
    """Return the figures of the only role."""
    answer = requests.get(f"{web}/", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    [found] = msgspec.json.decode(answer.content, type=Dashboard).workers
    return found


def counted(web: str, name: str, label: str = "") -> int:
    """The sum of a metric over all its labels, or over those with one of them."""
    lines: Iterator[str] = iter(requests.get(f"{web}/metrics", timeout=10).text.splitlines())
    found = [line for line in lines if line.startswith((f"{name}{{", f"{name} ")) and label in line]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in found))


def test_the_figures_agree_with_the_metrics_and_with_the_partitions(kafka_topics: Cluster, database_url: str) -> None:
    produce(kafka_topics, EVENTS)
    with worker(kafka_topics, database_url) as web:
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


def test_the_pages_of_several_roles_are_true_for_each_and_for_the_process(kafka_topics: Cluster, database_url: str) -> None:
    produce(kafka_topics, FEW)
    with worker(kafka_topics, database_url, "alerts") as web:

        def read(path: str) -> dict[str, Any]:
            found: dict[str, Any] = requests.get(f"{web}{path}", timeout=10).json()
            return found

        def figures_of() -> dict[str, WorkerFigures]:
            answer = requests.get(f"{web}/agents.json", timeout=10)
            return {each.worker: each for each in msgspec.json.decode(answer.content, type=Dashboard).workers}

        wait_until(lambda: figures_of()["payments"].handled >= FEW and all(not each.lag for each in figures_of().values()))
        found = figures_of()
        assert [*found] == ["payments", "alerts"]
        for name, each in found.items():
            label = f'worker="{name}"'
            assert each.handled == counted(web, "tallyhook_worker_handled_total", label)
            assert each.handled + each.repeated == sum(agent.events for agent in each.agents)
            assert counted(web, "tallyhook_worker_batch_events_sum", label) == each.handled + each.repeated
            assert counted(web, "tallyhook_build_info", f'process="worker-{name}"') == 1
        everything = {topic: [*range(8)] for topic in ("webhooks.razorpay", "webhooks.stripe")}
        alerts = {"alert.events": [0]}
        assert read("/assignment/") == {
            "actives": everything | alerts,
            "standbys": {},
            "workers": {"payments": everything, "alerts": alerts},
        }
        ready = read("/health/ready")
        assert (ready["ready"], ready["process"], ready["partitions"]) == (True, "worker-payments-alerts", 17)
        assert ready["workers"] == {
            "payments": {"ready": True, "partitions": 16},
            "alerts": {"ready": True, "partitions": 1},
        }
        for scope, drawn in (("", {"payments", "alerts"}), ("?scope=alerts", {"alerts"})):
            topology = read(f"/topology.json{scope}")
            assert topology["process"]["workers"] == ["payments", "alerts"]
            assert {held["worker"] for held in topology["process"]["partitions"]} == {"payments", "alerts"}
            page = requests.get(f"{web}/topology{scope}", headers={"Accept": "text/html"}, timeout=10).text
            focus = set(re.findall(r'class="shape worker [^"]*focus" data-name="(\w+)"', page))
            assert focus == drawn

        def front() -> str:
            return requests.get(f"{web}/", headers={"Accept": "text/html"}, timeout=10).text

        assert re.findall(r"<h2>(\w+)", front()) == ["payments", "alerts"]
        total = sum(each.handled for each in figures_of().values())
        assert f">{total:,}</b><span>events handled" in front()
