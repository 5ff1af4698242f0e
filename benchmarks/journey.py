"""Latency from the answer to a webhook until its billing event can be read on Kafka, through gateway, relay and worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks import load
from benchmarks.bodies import write_requests
from benchmarks.figures import Aim, Result, Void, expect, percentiles
from benchmarks.other_process import in_other_process
from benchmarks.payments import WORKER
from benchmarks.system import System, system
from benchmarks.topic import Offsets, Topic, header
from schemas.topics import Topic as Name

if TYPE_CHECKING:
    from benchmarks.figures import Scale
    from benchmarks.system import Report

RATE: Final = 100.0  # events a second
SECONDS: Final = 30.0
SUCCEEDED: Final = "billing.payment.succeeded"
_CONNECTIONS: Final = 16
_WARM_UP: Final = 3.0  # seconds
_START_IN: Final = 3.0  # seconds until the grid of the load begins
_GRACE: Final = 60.0  # seconds


def run(scale: Scale, report: Report) -> Result:
    seconds = scale.seconds(SECONDS)
    with system("postgres", "kafka", "redis", report=report) as ours, ours.running("relay", WORKER, "gateway"):
        report("journey", "warming up")
        _send_and_wait(ours, _WARM_UP)
        report("journey", f"{RATE:g} events a second for {seconds:g} s")
        latencies, late = _send_and_wait(ours, seconds)
    figures = percentiles("answer to billing event", latencies, Aim(at_most=50), Aim(at_most=250))
    note = (
        f"{len(latencies):,} events on a fixed grid, {RATE:g} a second; none sent more than {late * 1000:.0f} ms after its time"
    )
    return Result("journey", figures, [note])


def _send_and_wait(ours: System, seconds: float) -> tuple[list[float], float]:
    """Return the time of each event in seconds, and the largest delay of the load."""
    host, port = ours.public
    requests = ours.stack.data_dir / "requests"
    number = int(RATE * seconds)
    payments = write_requests(requests, number, ours.settings["STRIPE_WEBHOOK_SECRET"], f"{host}:{port}")
    topic = Topic(ours.bootstrap, Name.BILLING_PAYMENTS)
    before, start_at = topic.ends(), time.monotonic() + _START_IN
    plan = load.Plan(requests, ours.public, _CONNECTIONS, rate=RATE, start_at=start_at)
    with in_other_process(load.send, plan) as answers_within:
        arrived = _arrivals(topic, before, number, start_at + seconds + _GRACE)
        answers = answers_within(_GRACE)
    expect("requests that were refused", answers.refused, 0)
    if arrived.keys() != set(payments):
        raise Void(f"{len(arrived):,} payments arrived where {number:,} were sent")
    answered = dict(zip(payments, answers.answered_at, strict=True))
    return [arrived[payment] - answered[payment] for payment in payments], answers.late


def _arrivals(topic: Topic, before: Offsets, number: int, deadline: float) -> dict[str, float]:
    """Return the time at which the event of each payment could be read."""
    arrived: dict[str, float] = {}
    for message in topic.arriving(before):
        now = time.monotonic()
        if message is not None and header(message, "ce_type") == SUCCEEDED:
            arrived.setdefault((message.key() or b"").decode(), now)
        if len(arrived) >= number or now > deadline:
            break
    return arrived
