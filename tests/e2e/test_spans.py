"""One webhook is one connected trace across gateway, relay and workers."""

from __future__ import annotations

import time
from secrets import token_hex
from typing import TYPE_CHECKING

from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.collector import Collected, Collector
    from tests.system import System

CALLER = "00f067aa0ba902b7"


async def trace_with(collector: Collector, trace_id: str, *names: str, root: str = "") -> list[Collected]:
    """
    The trace, once it has spans of all these names and is connected: every span but the first has its parent among them.

    Each process exports at its own times, so a span may arrive before its parent.
    """

    async def whole() -> list[Collected] | None:
        found = collector.trace(trace_id)
        ids = {span.span_id for span in found}
        connected = {span.parent for span in found} - ids == {root}
        return found if connected and {*names} <= {span.name for span in found} else None

    trace = await eventually(whole)
    assert len({span.span_id for span in trace}) == len(trace)
    assert [span.kind for span in trace if span.parent == root] == ["server"]
    return trace


def child(trace: list[Collected], parent: Collected, name: str) -> Collected:
    [found] = [span for span in trace if span.name == name and span.parent == parent.span_id]
    return found


async def test_a_payment_is_one_trace_from_the_request_to_the_mail(
    system: System, http: aiohttp.ClientSession, collector: Collector
) -> None:
    trace_id = token_hex(16)
    payment = stripe.Payment(metadata={"user_id": f"{token_hex(4)}@example.com"})
    body = payment.succeeded(int(time.time()))
    answer = await post_stripe(http, system.public, body, traceparent=f"00-{trace_id}-{CALLER}-01")
    assert answer.headers["X-Trace-Id"] == trace_id
    names = ("send EMAIL", "publish notification.events", "publish billing.payment.events", "process webhooks.stripe")
    trace = await trace_with(collector, trace_id, *names, root=CALLER)
    [request] = [span for span in trace if span.parent == CALLER]
    assert (request.service, request.kind, request.attributes["http.response.status_code"]) == (
        "tallyhook-gateway",
        "server",
        200,
    )
    came = child(trace, request, "create com.stripe.payment_intent.succeeded")
    assert child(trace, came, "publish webhooks.stripe").service == "tallyhook-relay"
    handled = child(trace, came, "process webhooks.stripe")
    assert (handled.service, handled.kind) == ("tallyhook-worker-payments", "consumer")
    command = child(trace, handled, "create notification.send")
    processed = child(trace, command, "process notification.commands")
    assert processed.service == "tallyhook-worker-notifications"
    assert child(trace, command, "send EMAIL").kind == "client"
    assert child(trace, command, "create notification.sent").service == "tallyhook-worker-notifications"

    async def batches() -> set[str] | None:
        linked = {span.name for span in collector.spans if {came.span_id, handled.span_id} & {*span.links}}
        return linked if linked == {"commit", "round"} else None

    await eventually(batches)


async def test_a_lead_is_one_trace_from_the_request_to_the_crm(
    system: System, http: aiohttp.ClientSession, collector: Collector
) -> None:
    body = partner.lead(token_hex(8))
    signature = partner.sign(body, "acme-secret", time.time())
    headers = {"Content-Type": "application/json", "X-Partner-Signature": signature}
    async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
        assert answer.status == 202, await answer.text()
        trace_id = answer.headers["X-Trace-Id"]
    trace = await trace_with(collector, trace_id, "deliver lead", "create lead.delivered", "publish lead.partner.events")
    [delivery] = [span for span in trace if span.name == "deliver lead"]
    assert (delivery.service, delivery.failed) == ("tallyhook-worker-leads", False)
    assert delivery.attributes["http.response.status_code"] == 204


async def test_a_caller_that_does_not_sample_is_heeded_in_every_process(
    system: System, http: aiohttp.ClientSession, collector: Collector
) -> None:
    unseen, seen = token_hex(16), token_hex(16)
    payment = stripe.Payment()
    await post_stripe(http, system.public, payment.created(int(time.time())), traceparent=f"00-{unseen}-{CALLER}-00")
    await post_stripe(http, system.public, payment.succeeded(int(time.time())), traceparent=f"00-{seen}-{CALLER}-01")
    names = ("process webhooks.stripe", "publish webhooks.stripe", "publish billing.payment.events")
    await trace_with(collector, seen, *names, root=CALLER)
    assert collector.trace(unseen) == []
