"""The facts of Razorpay's events; any order of them ends in the same state."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import billing
from schemas.razorpay import HANDLED_TYPES
from streams.errors import Poison
from streams.payments import news
from streams.payments.facts import DisputeFact, Fact, Money, PaymentFact, Stamp, SubscriptionFact
from streams.payments.fold import fold
from streams.payments.razorpay import facts_of
from streams.payments.states import DisputeState, PaymentState, State, SubscriptionState
from streams.payments.steps import key_of
from streams.payments.store import Held, state_in, stored
from tests.simulators.razorpay import MONTH, START, Payment, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAID = {"succeeded", "partially_refunded", "refunded"}


def facts_in(body: bytes) -> list[Fact]:
    return facts_of(orjson.loads(body)["event"], body)


def payment_in(body: bytes) -> PaymentFact:
    (fact,) = (fact for fact in facts_in(body) if isinstance(fact, PaymentFact))
    return fact


def after(*bodies: bytes) -> PaymentState:
    way = folded([payment_in(body) for body in bodies])
    assert isinstance(way[-1], PaymentState)
    return way[-1]


def folded(facts: Iterable[Fact]) -> list[State]:
    """All states on the way, each kept as the table would keep it in between."""
    state: State | None = None
    way: list[State] = []
    for fact in facts:
        state = state_in(key_of(fact), Held(1, stored(fold(state, fact))))
        way.append(state)
    return way


def test_a_captured_payment_has_all_its_facts() -> None:
    payment = Payment(notes={"reference": "order-7", "user_id": 9, "else": None}, invoice="inv_1")
    body = payment.captured()
    assert payment_in(body) == PaymentFact(
        provider="razorpay",
        id=payment.id,
        stamp=Stamp(START, 3, hashlib.sha256(body).hexdigest()),
        requested=Money(50_000, "inr"),
        captured=Money(50_000, "inr"),
        reference="order-7",
        customer_id=payment.customer,
        user_id="9",
        contact="payer@example.com",
        invoice_id="inv_1",
    )


def test_without_a_note_the_order_is_the_reference() -> None:
    payment = Payment()
    assert payment_in(payment.captured()).reference == payment.order
    assert payment_in(Payment(notes={"order_id": "shop-1"}).captured()).reference == "shop-1"


@pytest.mark.parametrize("notes", [[], {}, {"reference": ""}, {"reference": {"a": 1}}, {"reference": "x" * 501}, ["reference"]])
def test_notes_may_hold_anything(notes: Any) -> None:
    payment = Payment(notes=notes)
    assert payment_in(payment.captured()).reference == payment.order


@pytest.mark.parametrize("email", ["void@razorpay.com", "", None])
def test_the_placeholder_address_is_no_contact(email: str | None) -> None:
    assert payment_in(Payment().captured(email=email)).contact is None


def test_authorised_is_not_paid_whatever_captured_is_in_the_snapshot() -> None:
    payment = Payment()
    assert after(payment.authorized()).status == "processing"
    assert after(payment.authorized(captured=True)).status == "processing"
    assert after(payment.authorized(), payment.captured()).status == "succeeded"


def test_a_failed_payment_may_be_authorised_late_and_a_paid_one_never_fails() -> None:
    payment = Payment()
    assert after(payment.failed()).status == "failed"
    assert after(payment.failed(START), payment.authorized(START)).status == "processing"
    assert after(payment.authorized(START + 9), payment.failed(START)).status == "processing"
    assert after(payment.captured(START), payment.failed(START + 9)).status == "succeeded"


def test_refunds_are_a_running_total() -> None:
    payment = Payment()
    assert after(payment.captured(), payment.refunded(20_000)).status == "partially_refunded"
    state = after(payment.refunded(50_000, START + 1), payment.captured(), payment.refunded(20_000))
    assert (state.status, state.amount_refunded, state.money) == ("refunded", 50_000, Money(50_000, "inr"))


def test_a_payment_that_was_never_captured_is_not_refunded_but_given_back() -> None:
    state = after(Payment().given_back())
    assert (state.status, state.amount_refunded, state.captured) == ("canceled", 0, None)


def test_a_charge_of_a_subscription_is_a_fact_of_both() -> None:
    subscription, payment = Subscription(notes={"user_id": "u-1"}), Payment(customer=None)
    body = subscription.charged(payment.entity(START, status="captured", captured=True))
    subscription_fact, paid = facts_in(body)
    assert subscription_fact == SubscriptionFact(
        provider="razorpay",
        id=subscription.id,
        stamp=Stamp(START, 2, hashlib.sha256(body).hexdigest()),
        status="active",
        ended=False,
        current_period_end=START + MONTH,
        customer_id=subscription.customer,
    )
    assert isinstance(paid, PaymentFact)
    assert (paid.id, paid.captured, paid.subscription_id) == (payment.id, Money(50_000, "inr"), subscription.id)
    assert (paid.customer_id, paid.user_id) == (subscription.customer, "u-1")


def test_every_handled_type_has_a_fact() -> None:
    payment, subscription = Payment(), Subscription()
    steps = ("authorized", "captured", "failed")
    bodies = {f"payment.{step}": getattr(payment, step)() for step in steps}
    for kind in HANDLED_TYPES:
        if kind.startswith("refund."):
            bodies[kind] = payment.refund(kind, 1, total=1)
        if kind.startswith("payment.dispute."):
            bodies[kind] = payment.disputed(kind.rpartition(".")[2])
    for kind in HANDLED_TYPES - bodies.keys():
        step = getattr(subscription, kind.removeprefix("subscription."))
        bodies[kind] = step(payment.entity(START)) if kind == "subscription.charged" else step()
    assert set(bodies) == HANDLED_TYPES
    assert all(facts_of(kind, body) for kind, body in bodies.items())
    assert facts_of("order.paid", b"anything") == []
    for kind, body in bodies.items():
        fractions = re.sub(rb":(\d+)(?=[,}\]])", rb":\1.0", body)
        names = hashlib.sha256(body).hexdigest(), hashlib.sha256(fractions).hexdigest()
        assert str(facts_of(kind, fractions)).replace(*reversed(names)) == str(facts_of(kind, body)), "an integer may end in .0"


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("payment.captured", b"{", "event_malformed"),
        ("payment.captured", b'{"event":"\xff"}', "event_malformed"),
        ("payment.captured", Payment().captured(amount=-1), "event_malformed"),
        (
            "payment.captured",
            Payment().captured(notes="deep").replace(b'"deep"', b"[" * 100_000 + b"]" * 100_000),
            "event_malformed",
        ),
        ("payment.captured", Payment().failed(), "event_mislabeled"),
        ("refund.processed", Payment().refunded(1, id="pay_other"), "event_malformed"),
    ],
)
def test_a_body_that_is_no_such_event_is_poison(kind: str, body: bytes, reason: str) -> None:
    with pytest.raises(Poison) as poison:
        facts_of(kind, body)
    assert poison.value.reason == reason


SECONDS = st.integers(START, START + 3)
"""Few seconds, many events: most of them share one."""


@st.composite
def payment_lives(draw: st.DrawFn) -> list[Fact]:
    payment = Payment(id="pay_1", order=draw(st.sampled_from([None, "order_1"])), customer="cust_1")
    subscription = Subscription(id="sub_1", customer="cust_2")
    steps = st.one_of(
        SECONDS.map(payment.authorized),
        SECONDS.map(payment.failed),
        st.tuples(SECONDS, st.sampled_from([50_000, 40_000])).map(lambda it: payment.captured(it[0], amount=it[1])),
        st.tuples(SECONDS, st.sampled_from([1, 20_000, 50_000])).map(lambda it: payment.refunded(it[1], it[0])),
        SECONDS.map(payment.given_back),
        SECONDS.map(lambda at: subscription.charged(payment.entity(at, status="captured"), at)),
        SECONDS.map(lambda at: subscription.pending(at, payment.entity(at, status="failed"))),
    )
    bodies = draw(st.lists(steps, min_size=1, max_size=7))
    return [fact for body in bodies for fact in facts_in(body) if isinstance(fact, PaymentFact)]


@st.composite
def subscription_lives(draw: st.DrawFn) -> list[Fact]:
    subscription = Subscription(id="sub_1", customer="cust_1")
    words = ("authenticated", "activated", "updated", "pending", "halted", "paused", "resumed", "cancelled", "completed")
    steps = st.one_of(*(SECONDS.map(getattr(subscription, word)) for word in words))
    return [fact for body in draw(st.lists(steps, min_size=1, max_size=7)) for fact in facts_in(body)]


def _reordered(draw: st.DataObject, facts: Sequence[Fact]) -> list[Fact]:
    again = draw.draw(st.lists(st.sampled_from(facts), max_size=4))
    return draw.draw(st.permutations([*facts, *again]))


@given(st.one_of(payment_lives(), subscription_lives()), st.data())
def test_every_order_with_repetitions_gives_the_state_of_the_true_order(facts: list[Fact], data: st.DataObject) -> None:
    in_order = folded(sorted(facts, key=lambda fact: fact.stamp))[-1]
    assert folded(_reordered(data, facts))[-1] == in_order


@given(payment_lives(), st.data())
def test_a_payment_succeeds_once_and_never_goes_back(facts: list[Fact], data: st.DataObject) -> None:
    states = [state for state in folded(_reordered(data, facts)) if isinstance(state, PaymentState)]
    paid = [state.status in PAID for state in states]
    assert paid == sorted(paid)
    kinds = [kind for old, new in zip([None, *states], states, strict=False) for kind in news.payment_news(old, new)]
    assert kinds.count(billing.PaymentSucceeded) == any(paid)


@given(subscription_lives(), st.data())
def test_an_ended_subscription_stays_ended_whatever_comes_late(facts: list[Fact], data: st.DataObject) -> None:
    last = max(facts, key=lambda fact: fact.stamp)
    assert isinstance(last, SubscriptionFact)
    end = folded(_reordered(data, facts))[-1]
    assert isinstance(end, SubscriptionState)
    assert end.current.ended == last.ended


@pytest.mark.parametrize(
    ("steps", "funds"),
    [
        ([("created", 0)], None),
        ([("created", 0), ("won", 0)], None),
        ([("created", 0), ("lost", 700)], "withdrawn"),
        ([("created", 700)], "withdrawn"),
        ([("created", 700), ("under_review", 700), ("won", 0)], "reinstated"),
        ([("created", 700), ("lost", 700)], "withdrawn"),
        ([("created", None), ("won", None)], None),
    ],
)
def test_the_disputed_amount_is_where_razorpay_has_it_whatever_came_first(
    steps: list[tuple[str, int | None]], funds: str
) -> None:
    payment = Payment()
    bodies = [
        payment.disputed(step, START + number, amount_deducted=amount, status="open" if step == "created" else step)
        for number, (step, amount) in enumerate(steps)
    ]
    for order in itertools.permutations(bodies):
        state: State | None = None
        for body in (*order, order[0]):
            state = fold(state, next(fact for fact in facts_in(body) if isinstance(fact, DisputeFact)))
        assert isinstance(state, DisputeState)
        assert (state.funds, state.fate.status) == (funds, "open" if steps[-1][0] == "created" else steps[-1][0])


@pytest.mark.parametrize(("stated", "respond_by"), [(START + MONTH, START + MONTH), (0, None), (None, None)])
def test_a_dispute_without_a_time_to_respond_has_no_deadline(stated: int | None, respond_by: int | None) -> None:
    body = orjson.loads(Payment().disputed("created", START))
    body["payload"]["dispute"]["entity"]["respond_by"] = stated
    [fact] = (each for each in facts_in(orjson.dumps(body)) if isinstance(each, DisputeFact))
    assert fact.respond_by == respond_by
