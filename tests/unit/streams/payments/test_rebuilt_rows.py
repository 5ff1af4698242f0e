"""The rows are the same to the last byte for any order, batches and repetitions of events."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.payments import stripe
from streams.payments.fold import fold
from streams.payments.steps import key_of
from streams.payments.store import row_of
from tests.simulators.stripe import START, Invoice, Payment, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.payments.facts import Fact
    from streams.payments.states import State
    from streams.payments.store import Key

Rows = dict["Key", tuple[Any, ...]]


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """Events of a provider about a payment, its refunds and disputes, an invoice and a subscription, often in one second."""
    payment = Payment(id="pi_1", charge="ch_1", metadata={"reference": "r", "user_id": "u"}, receipt_email="ada@example.com")
    invoice, subscription = Invoice(id="in_1"), Subscription(id="sub_1")
    names = iter(range(1000))

    def moment() -> int:
        return START + draw(st.integers(0, 3))

    def refund() -> bytes:
        words = {"id": f"re_{draw(st.integers(0, 3))}", "created": moment()}
        if draw(st.booleans()):
            return payment.refund("refund.failed", 5, moment(), f"evt_{next(names)}", **words, status="failed")
        return payment.refund("refund.created", 5, moment(), f"evt_{next(names)}", **words)

    makers = [
        lambda: payment.created(moment()),
        lambda: payment.succeeded(moment()),
        refund,
        refund,
        lambda: payment.refunded(5 * draw(st.integers(1, 4)), moment()),
        lambda: payment.disputed(draw(st.sampled_from(["created", "updated", "closed"])), moment()),
        lambda: invoice.created(moment()),
        lambda: invoice.paid(moment()),
        lambda: subscription.created(moment()),
    ]
    return [draw(st.sampled_from(makers))() for _ in range(draw(st.integers(1, 12)))]


def rows_of(bodies: Sequence[bytes]) -> Rows:
    """Return the rows as the worker makes them: an event that the history already has changes nothing."""
    states: dict[Key, tuple[State, int]] = {}
    for facts in _distinct(bodies):
        for fact in facts:
            old, version = states.get(key_of(fact), (None, 0))
            states[key_of(fact)] = fold(old, fact), version + 1
    return {key: row_of(state, version) for key, (state, version) in states.items()}


def _distinct(bodies: Sequence[bytes]) -> list[list[Fact]]:
    return [facts_of(body) for body in dict.fromkeys(bodies)]


def facts_of(body: bytes) -> list[Fact]:
    return stripe.facts_of(orjson.loads(body)["type"], body)


@settings(max_examples=300)
@given(histories(), st.integers(0, 2**32))
def test_rows_that_are_made_again_are_the_same_to_the_byte(bodies: list[bytes], seed: int) -> None:
    again = [*bodies, *bodies[::2]]
    random.Random(seed).shuffle(again)
    assert rows_of(again) == rows_of(bodies)
