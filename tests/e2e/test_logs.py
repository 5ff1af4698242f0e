"""Every log line of every process is JSON, and each line about a request or an event has its trace id."""

from __future__ import annotations

import json
import time
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer

from ops.dev.processes import SINK
from runtime.ids import new_id
from tests.simulators import stripe
from tests.waiting import wait_until

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System

EVENTS_WITH_TRACE: Final = {"request_refused", "request_failed", "dead_lettered", "attempt_failed", "event_parked"}


def lines_of(system: System, process: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in system.log_of(process).splitlines()]


def events_of(system: System, process: str, trace_id: str) -> list[str]:
    return [line["event"] for line in lines_of(system, process) if line.get("trace_id") == trace_id]


async def test_a_refusal_and_a_dead_letter_are_logged_under_their_trace(system: System, http: aiohttp.ClientSession) -> None:
    refused, set_aside = token_hex(16), token_hex(16)
    body = stripe.Payment().created(int(time.time()))
    # A different refusal from those of other tests, of which only a part is logged.
    unsigned = {"Content-Type": "application/json", "traceparent": f"00-{refused}-{token_hex(8)}-01"}
    async with http.post(f"{system.public}/v1/webhooks/stripe", data=body, headers=unsigned) as answer:
        assert answer.status == 401
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(new_id()),
        "ce_source": "/here",
        "ce_type": "com.stripe.payment_intent.created",
        "ce_subject": "pi_1",
        "ce_time": "2026-11-24T00:00:00Z",
        "ce_dataschema": "urn:none:1",
        "content-type": "application/json",
        "traceparent": f"00-{set_aside}-{token_hex(8)}-01",
    }
    producer = Producer({"bootstrap.servers": system.kafka})
    producer.produce("webhooks.stripe", b"not JSON", "pi_1", headers=headers)
    assert producer.flush(10) == 0
    wait_until(lambda: events_of(system, "gateway", refused) == ["request_refused"])
    wait_until(lambda: events_of(system, "worker-payments", set_aside) == ["dead_lettered"])


async def test_every_line_of_every_process_is_json_with_an_event_and_its_process(system: System) -> None:
    for process in (state.name for state in system.states if state.name != SINK):
        lines = lines_of(system, process)
        assert lines, process
        for line in lines:
            assert line.keys() >= {"time", "level", "process", "event"}, line
            assert line["process"] == process
            if line["event"] in EVENTS_WITH_TRACE and line.get("reason") not in {"value_missing", "envelope_incomplete"}:
                assert len(line["trace_id"]) == 32, line
