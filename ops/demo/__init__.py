"""`demo`: the journey of a real, correctly signed event through a running stack."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console

from ops.demo.journey import follow, table_of
from ops.demo.stripe import payment_succeeded, sign
from ops.dev.status import read_status
from ops.stack.errors import StackError
from runtime.settings import environment

if TYPE_CHECKING:
    from pathlib import Path


def demo(data_dir: Path) -> None:
    """
    Send a payment to the stack on this data directory and print where it went, and when.

    Raises StackError where no stack runs or something does not come in time.
    """
    status = read_status(data_dir)
    if status.phase != "ready" or not (status.public and status.internal and status.kafka):
        raise StackError("no stack is running: start it with ./dev up")
    known = environment()
    console = Console()
    body = payment_succeeded(int(time.time()))
    headers = {"Content-Type": "application/json", "Stripe-Signature": sign(body, _newest(known, "STRIPE_WEBHOOK_SECRET"))}
    journey = follow(
        url=f"{status.public}/v1/webhooks/stripe",
        body=body,
        headers=headers,
        internal=status.internal,
        admin_token=_newest(known, "ADMIN_API_TOKEN"),
        kafka=status.kafka,
    )
    console.print(table_of("A Stripe payment", journey.stations))
    console.print(
        f"  trace {journey.trace_id}: it is in every log line and on every event; the same journey as JSON:", highlight=False
    )
    console.print(
        f'  curl -H "X-Internal-Token: $ADMIN_API_TOKEN" {status.internal}/v1/admin/webhooks/deliveries/{journey.delivery_id}',
        highlight=False,
        soft_wrap=True,
    )


def _newest(known: dict[str, str], name: str) -> str:
    secret = known.get(name, "").partition(",")[0].strip()
    if not secret:
        raise StackError(f"{name} is set neither in the environment nor in .env, so nothing can be signed")
    return secret
