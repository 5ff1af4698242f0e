"""`./dev demo` shows the whole journey of real events and commands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis
from elasticsearch import Elasticsearch

from ops.demo.commands import index_document, invalidate_cache
from ops.demo.journey import Gateway, Journey, follow
from ops.demo.partner import lead, partner_environment, partner_secret
from ops.demo.partner import sign as sign_lead
from ops.demo.stripe import payment_succeeded, sign
from ops.stack.errors import StackError
from tests.e2e.conftest import CACHE_PREFIX
from tests.simulators import partner
from tests.system import ADMIN, STRIPE_SECRET, System

if TYPE_CHECKING:
    import requests

PATH = "/v1/webhooks/stripe"


@pytest.fixture
def gateway(system: System) -> Gateway:
    return Gateway(system.public, system.internal, ADMIN["X-Internal-Token"], system.cluster)


def lines(journey: Journey) -> list[str]:
    times = [station.milliseconds for station in journey.stations]
    assert times == sorted(times)
    return [f"{station.what} | {station.where}" for station in journey.stations]


def test_the_demo_follows_a_payment_to_its_last_event(gateway: Gateway) -> None:
    body = payment_succeeded(int(time.time()))
    awaited = {"billing.payment.succeeded", "notification.send"}
    journey = follow(gateway, PATH, body, {"Stripe-Signature": sign(body, STRIPE_SECRET)}, awaited)
    shown = lines(journey.with_last("kept", "here"))
    assert shown[0] == f"answered 200 | durable in Postgres: delivery {journey.delivery_id}"
    assert shown[-1] == "kept | here"
    assert any("com.stripe.payment_intent.succeeded | Kafka: webhooks.stripe" in line for line in shown)
    assert any("billing.payment.succeeded | Kafka: billing.payment.events" in line for line in shown)


def test_the_demo_follows_a_lead_to_its_delivery(gateway: Gateway) -> None:
    body = partner.lead(f"crm-{uuid4()}")
    headers = {"X-Partner-Signature": partner.sign(body, "acme-secret", time.time())}
    journey = follow(gateway, "/v1/webhooks/partner/leads", body, headers, {"lead.delivered"})
    assert any("lead.delivered | Kafka: lead.partner.events" in line for line in lines(journey))


def test_the_demo_prints_why_it_was_refused(gateway: Gateway) -> None:
    body = payment_succeeded(int(time.time()))
    with pytest.raises(StackError, match="signature_wrong"):
        follow(gateway, PATH, body, {"Stripe-Signature": sign(body, "whsec_of_somebody_else")}, set())


def test_the_demo_shows_the_results_of_its_commands(system: System, admin: requests.Session) -> None:
    with redis.Redis.from_url(system.stack.redis.url) as cache:
        assert invalidate_cache(admin, system.internal, cache, CACHE_PREFIX).where == "Redis: 3 of 3 keys removed, 0 left"
    with Elasticsearch(system.stack.elasticsearch.url) as index:
        assert "finds demo-" in index_document(admin, system.internal, index).where


def test_the_demo_partner_needs_no_secret_of_its_own_and_gives_way_to_one_that_is_set_up() -> None:
    known = {"ADMIN_API_TOKEN": "newest,older"}
    made = partner_environment(known, 8025)
    assert made["PARTNER_DEMO_SECRET"] == partner_secret({"ADMIN_API_TOKEN": "newest"})
    assert made["OUTBOUND_ALLOW"] == "127.0.0.1/32"
    assert "newest" not in "".join(made.values())
    assert partner_environment(known | {"PARTNER_DEMO_TOKEN": "t"}, 8025) == {}
    assert sign_lead(lead(), "secret").startswith("t=")
