"""Kafka loses records before any worker has read them: the relay brings them back, and each has its effects once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from outbox.offsets import Offsets
from tests.kafka import delete_records
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.system import running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ops.stack import Stack

NUMBER: Final = 20
TOPIC: Final = "webhooks.stripe"


async def test_webhooks_that_kafka_lost_before_the_worker_ran_have_their_effects_once(empty_stack: Stack) -> None:
    with running_system(empty_stack, workers=()) as alone:
        async with aiohttp.ClientSession() as http:
            for _ in range(NUMBER):
                assert (await post_stripe(http, alone.public, stripe.Payment().succeeded())).status == 200
        wait_until(lambda: alone.count("outbox_pending") == 0)
        spans = Offsets(alone.cluster).spans([TOPIC])
        assert sum(span.end for span in spans.values()) == NUMBER
        delete_records(alone.cluster, TOPIC, {place.partition: span.end for place, span in spans.items()})
    with running_system(empty_stack, workers=("payments",)) as system:
        wait_until(lambda: system.count("consumed where consumer = 'payments'") == NUMBER)
        wait_until(lambda: system.count("lost_ranges where finished_at is null") == 0)
        assert system.count("lost_ranges") == sum(span.end > 0 for span in spans.values())
        assert system.count("payments where status = 'succeeded'") == NUMBER
        assert system.count("outbox where topic = 'billing.payment.events'") == NUMBER
        assert system.count("outbox where topic = 'alert.events' and convert_from(data, 'UTF8') like '%%records_lost%%'") == 1
