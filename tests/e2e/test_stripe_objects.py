"""
Stripe's own objects through the real system: all are taken, none is set aside, and the ledger balances.

The suite sends a sample; `./dev test tests/e2e/test_stripe_objects.py --all-stripe-objects` sends all of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.sender import Provider
from tests.stripe_data import events
from tests.waiting import wait_until

if TYPE_CHECKING:
    import pytest

    from tests.system import System

SAMPLE = 200


def sample(bodies: list[bytes]) -> list[bytes]:
    """Return one event of each type, and an even choice of the others."""
    firsts = {json.loads(body)["type"]: body for body in reversed(bodies)}
    rest = [body for body in bodies if firsts[json.loads(body)["type"]] is not body]
    return [*firsts.values(), *rest[:: len(rest) // SAMPLE]]


async def test_stripes_own_objects_are_taken_and_none_is_set_aside(system: System, request: pytest.FixtureRequest) -> None:
    bodies = [*events("fixtures"), *events("variants")]
    if not request.config.getoption("--all-stripe-objects"):
        bodies = sample(bodies)
    names = [json.loads(body)["id"] for body in bodies]
    provider = Provider(system.public)
    await provider.deliver(bodies)
    assert set(provider.answers) == {"200"}
    taken = "webhook_deliveries d where provider_event_id = any(%s) and outcome"
    handled = system.count(f"{taken} = 'accepted'", names)
    assert handled + system.count(f"{taken} = 'ignored'", names) == len(names)
    settled = f"consumed c join {taken} = 'accepted' and d.id = c.event_id and consumer = 'payments'".replace("d where", "d on")
    wait_until(lambda: system.count(settled, names) == handled, seconds=60 + len(names) / 50)
    letters = "dead_letters l join webhook_deliveries d on d.id = l.event_id where d.provider_event_id = any(%s)"
    assert system.query(f"select l.reason, l.detail from {letters}", names) == []
