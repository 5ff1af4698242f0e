"""`demo`: real, correctly signed events and commands, sent to a running stack, and the journey of each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis
import requests
from confluent_kafka import KafkaException
from elasticsearch import ApiError, Elasticsearch, TransportError
from redis import RedisError

from ops.demo import partner
from ops.demo.commands import index_document, invalidate_cache
from ops.demo.journey import Gateway, Journey, Station, check_answer, follow, text_of
from ops.demo.stripe import USER, payment_succeeded, sign
from ops.dev.console_link import console_link
from ops.dev.status import StackStatus, read_status
from ops.stack.errors import Reason, StackError
from ops.stack.state import StateFile
from runtime.kafka import KafkaClientSettings
from runtime.servers import ElasticsearchSettings, RedisTlsSettings
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def demo(checkout: Path, data_dir: Path, print_line: Callable[[str], None]) -> None:
    """
    Send a payment, a lead and two commands to the stack on this data directory and print the stations of each with their times.

    Raises StackError if no stack runs, a server refuses a request or is away, or an event does not come in time.
    """
    status = _running(data_dir)
    known = environment() | StateFile(data_dir).read().environment
    kafka = KafkaClientSettings.load(known).kafka_at(str(status.kafka))
    gateway = Gateway(str(status.public), str(status.internal), _newest(known, "ADMIN_API_TOKEN"), kafka)
    try:
        with requests.Session() as http:
            http.headers["X-Internal-Token"] = gateway.admin_token
            payment = _send_payment(gateway, http, known, status)
            print_line(text_of("A Stripe payment", payment.stations))
            lead = _send_lead(gateway, http, known)
            print_line(text_of("\nA partner's lead", lead.stations))
            print_line(text_of("\nCommands of our own services", _send_commands(gateway, http, known)))
    except (requests.RequestException, RedisError, KafkaException, ApiError, TransportError) as error:
        raise StackError(Reason.STACK_FAILED, f"a server is away: {error}; see ./dev status") from error
    print_line("\nNext:\n" + "\n".join(_next(status, payment.delivery_id)))
    if url := console_link(checkout, data_dir, f"/console/journey/{payment.delivery_id}"):
        print_line(f"  The payment's journey in the console; this link signs in once:\n    {url}")


def _next(status: StackStatus, delivery_id: str) -> Iterator[str]:
    if status.mail:
        yield f"  The messages, and what the partner was sent, in a browser:\n    {status.mail}"
    yield '  The settings, tallyhook and psql for this shell:\n    eval "$(./dev env)"'
    yield "  Then the payment's journey as JSON, and the ledger of everything received:"
    url = f'"$INTERNAL_URL/v1/admin/webhooks/deliveries/{delivery_id}"'
    yield f'    curl -H "X-Internal-Token: $ADMIN_TOKEN" \\\n      {url}'
    yield "    tallyhook ledger"


def _running(data_dir: Path) -> StackStatus:
    status = read_status(data_dir)
    if status.phase != "ready":
        raise StackError(Reason.STACK_FAILED, "no stack is running: start it with ./dev up --detach")
    return status


def _send_payment(gateway: Gateway, http: requests.Session, known: dict[str, str], status: StackStatus) -> Journey:
    mail = f"{USER}@example.com"
    check_answer(http.put(f"{gateway.internal}/internal/v1/contacts/{USER}", json={"email": mail}, timeout=5))
    body = payment_succeeded(int(time.time()))
    headers = {"Stripe-Signature": sign(body, _newest(known, "STRIPE_WEBHOOK_SECRET"))}
    awaited = {"billing.payment.succeeded", "notification.send", "notification.sent"}
    journey = follow(gateway, "/v1/webhooks/stripe", body, headers, awaited)
    payment = check_answer(http.get(f"{gateway.internal}/v1/admin/payments/{journey.key}", timeout=5)).json()
    amount = f"{payment['amount'] / 100:.2f} {payment['currency'].upper()}"
    kept = f"payment {journey.key}: {payment['status']}, {amount}, reconciliation {payment['reconciliation']}"
    return journey.with_last("kept", kept, *_mail_of(status, mail))


def _mail_of(status: StackStatus, to: str) -> list[str]:
    """The last mail in the local sink; none if real channels are set."""
    if status.mail is None:
        return []
    items: list[dict[str, Any]] = requests.get(status.mail, params={"to": to}, timeout=5).json()["items"]
    return [f"mail to {to}: {items[0]['subject']}"] if items else []


def _send_lead(gateway: Gateway, http: requests.Session, known: dict[str, str]) -> Journey:
    body = partner.lead()
    headers = {"X-Partner-Signature": partner.sign(body, partner.partner_secret(known))}
    journey = follow(gateway, "/v1/webhooks/partner/leads", body, headers, {"lead.delivered"})
    lead = check_answer(http.get(f"{gateway.internal}/v1/admin/leads/{journey.key}", timeout=5)).json()
    attempts = ", ".join(f"attempt {each['attempt']} answered {each['status']}" for each in lead["attempts"])
    return journey.with_last("kept", f"lead {journey.key}: {lead['status']}; {attempts}")


def _send_commands(gateway: Gateway, http: requests.Session, known: dict[str, str]) -> list[Station]:
    with redis.Redis.from_url(known["REDIS_URL"], **RedisTlsSettings.load(known).redis_options) as client:
        cached = invalidate_cache(http, gateway.internal, client, known.get("CACHE_KEY_PREFIX", ""))
    settings = ElasticsearchSettings.load(known)
    with Elasticsearch(settings.elasticsearch_url, **settings.elasticsearch_options) as index:
        return [cached, index_document(http, gateway.internal, index)]


def _newest(known: dict[str, str], name: str) -> str:
    secret = known.get(name, "").partition(",")[0].strip()
    if not secret:
        raise StackError(Reason.STACK_FAILED, f"{name} is set neither in the environment nor in .env, so nothing can be signed")
    return secret
