"""`demo`: real, correctly signed events and commands, and where each of them went, on a running stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests
from rich.console import Console

from ops.demo import partner
from ops.demo.commands import index_document, invalidate_cache
from ops.demo.journey import Gateway, Journey, Station, follow, table_of
from ops.demo.stripe import USER, payment_succeeded, sign
from ops.dev.status import StackStatus, read_status
from ops.stack.errors import StackError
from runtime.settings import environment

if TYPE_CHECKING:
    from pathlib import Path


def demo(data_dir: Path) -> None:
    """
    Send a payment, a lead and two commands to the stack on this data directory and print where each went, and when.

    Raises StackError where no stack runs or something does not come in time.
    """
    status, known, console = _running(data_dir), environment(), Console()
    gateway = Gateway(str(status.public), str(status.internal), _newest(known, "ADMIN_API_TOKEN"), str(status.kafka))
    with requests.Session() as http:
        http.headers["X-Internal-Token"] = gateway.admin_token
        payment = _send_payment(gateway, http, known, status)
        console.print(table_of("A Stripe payment", payment.stations))
        lead = _send_lead(gateway, http, known)
        console.print(table_of("A partner's lead", lead.stations))
        console.print(table_of("Commands of our own services", _give_commands(gateway, http, known, status)))
    console.print(f"Messages and what partners were sent: {status.mail}", highlight=False)
    console.print(
        f"The payment's journey as JSON: curl -H 'X-Internal-Token: …' {gateway.delivery_url(payment.delivery_id)}",
        highlight=False,
        soft_wrap=True,
    )


def _running(data_dir: Path) -> StackStatus:
    status = read_status(data_dir)
    if status.phase != "ready":
        raise StackError("no stack is running: start it with ./dev up")
    return status


def _send_payment(gateway: Gateway, http: requests.Session, known: dict[str, str], status: StackStatus) -> Journey:
    mail = f"{USER}@example.com"
    http.put(f"{gateway.internal}/internal/v1/contacts/{USER}", json={"email": mail}, timeout=5).raise_for_status()
    body = payment_succeeded(int(time.time()))
    headers = {"Stripe-Signature": sign(body, _newest(known, "STRIPE_WEBHOOK_SECRET"))}
    awaited = {"billing.payment.succeeded", "notification.send", "notification.sent"}
    journey = follow(gateway, "/v1/webhooks/stripe", body, headers, awaited)
    payment = http.get(f"{gateway.internal}/v1/admin/payments/{journey.key}", timeout=5).json()
    amount = f"{payment['amount'] / 100:.2f} {payment['currency'].upper()}"
    kept = f"payment {journey.key}: {payment['status']}, {amount}, reconciliation {payment['reconciliation']}"
    return journey.with_last("kept", kept, *_mail_of(status, mail))


def _mail_of(status: StackStatus, to: str) -> list[str]:
    """The last mail in the local sink; none where real channels are set."""
    if status.mail is None:
        return []
    items: list[dict[str, Any]] = requests.get(status.mail, params={"to": to}, timeout=5).json()["items"]
    return [f"mail to {to}: {items[0]['subject']}"] if items else []


def _send_lead(gateway: Gateway, http: requests.Session, known: dict[str, str]) -> Journey:
    body = partner.lead()
    headers = {"X-Partner-Signature": partner.sign(body, partner.partner_secret(known))}
    journey = follow(gateway, "/v1/webhooks/partner/leads", body, headers, {"lead.delivered"})
    lead = http.get(f"{gateway.internal}/v1/admin/leads/{journey.key}", timeout=5).json()
    attempts = ", ".join(f"attempt {each['attempt']} answered {each['status']}" for each in lead["attempts"])
    return journey.with_last("kept", f"lead {journey.key}: {lead['status']}; {attempts}")


def _give_commands(gateway: Gateway, http: requests.Session, known: dict[str, str], status: StackStatus) -> list[Station]:
    prefix = known.get("CACHE_KEY_PREFIX", "")
    return [
        invalidate_cache(http, gateway.internal, str(status.redis), prefix),
        index_document(http, gateway.internal, str(status.elasticsearch)),
    ]


def _newest(known: dict[str, str], name: str) -> str:
    secret = known.get(name, "").partition(",")[0].strip()
    if not secret:
        raise StackError(f"{name} is set neither in the environment nor in .env, so nothing can be signed")
    return secret
