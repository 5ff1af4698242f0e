"""The topology of a running system: each declared event is emitted and no other, and every page of every worker answers."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from ops import cli
from schemas.topics import Topic
from schemas.topology import AGENTS, worker, workers
from streams.dashboard import Dashboard
from streams.pages import WorkerTopology
from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.system import ADMIN
from tests.waiting import eventually
from topology.view import Topology

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System

ROLES: Final = [agent.name for agent in workers()]
PAGE: Final = {"Accept": "text/html"}


def web(system: System, role: str) -> str:
    found = system.process(f"worker-{role}").web
    assert found
    return found


async def read(http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> tuple[int, str, str]:
    async with http.get(url, headers=headers) as answer:
        return answer.status, answer.content_type, await answer.text()


@pytest.mark.parametrize("role", ROLES)
async def test_a_worker_shows_its_part_and_the_whole(system: System, http: aiohttp.ClientSession, role: str) -> None:
    base = web(system, role)
    for url in (f"{base}/topology", f"{base}/topology.json"):
        status, kind, body = await read(http, url)
        assert (status, kind) == (200, "application/json")
        answered = msgspec.json.decode(body, type=WorkerTopology)
        assert answered.process.workers == [role]
        assert {(held.topic, held.partition) for held in answered.process.partitions} == {
            (partition.topic, partition.partition)
            for partition in answered.topology.partitions
            if partition.topic in worker(role).consumes
        }
        assert role in [agent.name for agent in answered.topology.agents]
    for url, drawn in ((f"{base}/topology", {role}), (f"{base}/topology?scope=system", set(ROLES))):
        status, kind, body = await read(http, url, PAGE)
        assert (status, kind) == (200, "text/html")
        assert drawn <= set(re.findall(r'class="shape worker [^"]*" data-name="(\w+)"', body))
        assert "this process" in body


async def test_of_fausts_own_pages_those_that_are_safe_and_true_are_on(system: System, http: aiohttp.ClientSession) -> None:
    base = web(system, "payments")
    assert base.startswith("http://127.0.0.1:")
    status, _, body = await read(http, f"{base}/")
    [figures] = msgspec.json.decode(body, type=Dashboard).workers
    assert (status, figures.worker) == (200, "payments")
    assert [agent.name for agent in figures.agents] == ["webhooks.stripe", "webhooks.razorpay"]
    status, _, body = await read(http, f"{base}/assignment/")
    everything = {topic: [*range(8)] for topic in ("webhooks.razorpay", "webhooks.stripe")}
    assert (status, json.loads(body)) == (
        200,
        {"actives": everything, "standbys": {}, "workers": {"payments": everything}},
    )
    for path in ("/table/", "/router/", "/router/topics", "/graph/", "/performance/"):
        assert (await read(http, base + path))[0] == 404, path


async def test_operators_read_the_whole_system(system: System, http: aiohttp.ClientSession) -> None:
    url = f"{system.internal}/v1/admin/topology"
    status, _, body = await read(http, url, ADMIN)
    seen = msgspec.json.decode(body, type=Topology)
    assert status == 200
    assert all(agent.group and agent.group.members for agent in seen.agents if agent.kind == "worker")
    status, kind, page = await read(http, url, ADMIN | PAGE)
    assert (status, kind, "6 of 6" in page) == (200, "text/html", True)


def test_the_command_line_prints_it_in_four_forms(system: System) -> None:
    def run(*options: str) -> str:
        environment = {"KAFKA_BOOTSTRAP_SERVERS": system.kafka, "COLUMNS": "120"}
        done = CliRunner().invoke(cli.app, ["topology", *options], env=environment, catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    text = run()
    assert "16 topics, 87 partitions, lag " in text
    assert re.search(r"Payments +webhooks\.stripe +8 +\d", text)
    assert len(re.findall(r"Payments +webhooks\.stripe +\d ", run("--partitions"))) == 8
    assert msgspec.json.decode(run("--json"), type=Topology).kafka.live
    assert run("--mermaid").startswith("flowchart LR\n")
    assert run("--html").startswith("<!doctype html>")


async def test_the_emitted_events_are_the_declared_ones(system: System, http: aiohttp.ClientSession) -> None:
    """The test causes every kind of event; the source of each shows which process emitted it."""
    await bring_everything_about(system, http)
    # Objects that the payments worker fetches are recorded under Stripe's source: `test_thin_events` causes those.
    wanted = {agent.name: {*agent.produces} - {Topic.ALERTS, Topic.WEBHOOKS_STRIPE} for agent in workers()}

    async def all_emitted() -> dict[str, set[str]] | None:
        found = topics_by_source(system)
        return found if all(wanted[role] <= found[role] for role in ROLES) else None

    found = await eventually(all_emitted, every=0.2)
    for role in ROLES:
        assert found[role] - {Topic.ALERTS} == wanted[role]
    assert found["gateway"] <= set(AGENTS["gateway"].produces)
    assert set(AGENTS["gateway"].produces) - found["gateway"] <= {Topic.ALERTS, Topic.WEBHOOKS_RAZORPAY, Topic.BILLING_PAYMENTS}
    assert found["relay"] <= set(AGENTS["relay"].produces)
    raised = {
        subject
        for (subject,) in system.query(
            "select subject from alert_windows where alert = 'dead_letters' and subject <> 'operators'"
        )
    }
    assert raised == set(ROLES)


def topics_by_source(system: System) -> dict[str, set[str]]:
    """Return the topics by emitter. Events of payments may be the gateway's or the worker's, and alerts any process's."""
    found: dict[str, set[str]] = defaultdict(set)
    for source, topic in system.query("select distinct source, topic from outbox"):
        first, _, rest = source.strip("/").partition("/")
        match first:
            case "workers":
                found[rest].add(topic)
            case "payments":
                found["payments"].add(topic)
            case "webhooks" | "internal" | "config":
                found["gateway"].add(topic)
            case "relay":
                found["relay"].add(topic)
            case _:
                assert first in {"alerts", "dead-letters"}, source
    return found


async def bring_everything_about(system: System, http: aiohttp.ClientSession) -> None:
    now = int(time.time())
    subscription, payment = stripe.Subscription(), stripe.Payment(metadata={"user_id": "u-topology"})
    invoice = stripe.Invoice(subscription=subscription.id, payment=None)
    refund = payment.refund("refund.created", 100, now + 1, id=f"re_{payment.id[3:]}")
    for body in (
        subscription.created(now), invoice.created(now), payment.succeeded(now), refund, payment.disputed("created", now + 1),
    ):  # fmt: skip
        assert (await post_stripe(http, system.public, body)).status == 200
    lead = partner.lead(f"crm-{uuid4()}")
    signature = {"X-Partner-Signature": partner.sign(lead, "acme-secret", time.time()), "Content-Type": "application/json"}
    async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=lead, headers=signature) as answer:
        lead_id = (await answer.json())["id"]
    commands: dict[str, dict[str, Any]] = {
        "search/index": {"index": "properties", "id": f"t-{uuid4()}", "doc": {"title": "a"}, "op": "upsert"},
        "cache/invalidate": {"keys": ["topology"]},
        "notifications/send": {
            "to": "nobody@tallyhook.local", "channel": "EMAIL", "template": "payment-succeeded",
            "data": {"providerPaymentId": "pi_topology", "amount": 100, "currency": "eur"},
        },
        "leads/deliver": {"leadId": lead_id, "partnerId": "acme", "attempt": 1, "metadata": {}},
        "config": {"key": "leads.paused", "value": []},
    }  # fmt: skip
    for path, body in commands.items():
        async with http.post(f"{system.internal}/internal/v1/{path}", json=body, headers=ADMIN) as answer:
            assert answer.status in (200, 202), (path, await answer.text())
    producer = Producer({"bootstrap.servers": system.kafka})
    for role in ROLES:
        producer.produce(worker(role).consumes[0], b"\xff not an event", b"topology")
    assert producer.flush(10) == 0
