"""The refunded amount of a payment excludes failed refunds, whichever events arrive, in any order and however often."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import billing
from streams.payments import news, razorpay, stripe
from streams.payments.facts import PaymentFact, RefundFact
from streams.payments.fold import fold
from streams.payments.states import PaymentState, RefundState, State
from streams.payments.steps import key_of
from streams.payments.store import Held, state_in, stored
from tests.simulators.razorpay import Payment as RazorpayPayment
from tests.simulators.stripe import START, Payment, event
from tests.simulators.stripe_objects import charge_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.payments.facts import Fact

CAPTURED = 2000


@dataclass
class Life:
    """A captured payment, its refunds, and the provider's bodies by the object that they are about."""

    total: int = 0
    bodies: dict[str, list[bytes]] = field(default_factory=lambda: {"payment": [], "charge": [], "refund": [], "failure": []})

    def picked(self, *kinds: str) -> list[bytes]:
        return [body for kind in ("payment", *kinds) for body in self.bodies[kind]]


@st.composite
def stripe_lives(draw: st.DrawFn, *, apart: bool, created: bool = True) -> Life:
    """Refunds that are made and that fail; with `apart`, no two things happen in one second."""
    life, payment = Life(), Payment(id="pi_1", charge="ch_1", amount=CAPTURED)
    life.bodies["payment"].append(payment.succeeded(START, event_id="evt_0"))
    at, remaining, names = 1, dict[str, tuple[int, int]](), iter(range(1, 100))
    for number in range(draw(st.integers(1, 6))):
        at += 1 if apart else draw(st.integers(0, 1))
        moment = START + at
        if remaining and draw(st.booleans()):
            refund = draw(st.sampled_from(sorted(remaining)))
            amount, made = remaining.pop(refund)
            life.total -= amount
            changes = {"id": refund, "status": draw(st.sampled_from(["failed", "canceled"])), "created": made}
            kind = "refund.failed" if changes["status"] == "failed" else "refund.updated"
            life.bodies["failure"].append(payment.refund(kind, amount, moment, f"evt_{next(names)}", **changes))
            life.bodies["charge"].append(payment.adjusted(life.total, moment, f"evt_{next(names)}"))
        elif life.total < CAPTURED:
            refund, amount = f"re_{number}", draw(st.integers(1, CAPTURED - life.total))
            remaining[refund] = amount, moment
            life.total += amount
            words = {"id": refund, "status": draw(st.sampled_from(["pending", "succeeded", "requires_action", "sent"]))}
            life.bodies["refund"].append(payment.refund("refund.created", amount, moment, f"evt_{next(names)}", **words))
            later = {**words, "status": "succeeded", "created": moment}
            life.bodies["refund"].append(
                payment.refund("charge.refund.updated", amount, moment + 1, f"evt_{next(names)}", **later)
            )
            life.bodies["charge"].append(payment.refunded(life.total, moment, f"evt_{next(names)}"))
    if not created:
        life.bodies = {kind: [_without_created(body) for body in bodies] for kind, bodies in life.bodies.items()}
    return life


def _without_created(body: bytes) -> bytes:
    event = orjson.loads(body)
    event["data"]["object"].pop("created")
    return orjson.dumps(event)


def facts_in(bodies: Iterable[bytes]) -> list[Fact]:
    facts: list[Fact] = []
    for body in bodies:
        event = orjson.loads(body)
        facts += stripe.facts_of(event["type"], body) if "type" in event else razorpay.facts_of(event["event"], body)
    return facts


def way_of(facts: Iterable[Fact], kind: type[State]) -> list[Any]:
    """All states of the one aggregate of the kind, each kept as the table would keep it in between."""
    states: list[State] = []
    for fact in facts:
        key = key_of(fact)
        if key.kind == ("payment" if kind is PaymentState else "refund"):
            states.append(state_in(key, Held(1, stored(fold(states[-1] if states else None, fact)))))
    return states


def payment_after(*bodies: bytes) -> PaymentState:
    state = way_of(facts_in(bodies), PaymentState)[-1]
    assert isinstance(state, PaymentState)
    return state


def _any_order(data: st.DataObject, bodies: Sequence[bytes]) -> list[bytes]:
    again = data.draw(st.lists(st.sampled_from(bodies), max_size=3))
    return data.draw(st.permutations([*bodies, *again]))


def _check(life: Life, bodies: Sequence[bytes], data: st.DataObject) -> None:
    way = way_of(facts_in(_any_order(data, bodies)), PaymentState)
    assert all(0 <= state.amount_refunded <= CAPTURED for state in way)
    assert way[-1].amount_refunded == life.total
    status = "refunded" if life.total == CAPTURED else "partially_refunded" if life.total else "succeeded"
    assert way[-1].status == status
    assert way[-1] == payment_after(*bodies)


@given(stripe_lives(apart=False), st.data())
def test_with_every_event_the_refunded_amount_is_known(life: Life, data: st.DataObject) -> None:
    _check(life, life.picked("charge", "refund", "failure"), data)


@given(stripe_lives(apart=False), st.data())
def test_the_refunds_alone_are_enough(life: Life, data: st.DataObject) -> None:
    _check(life, life.picked("refund", "failure"), data)


@given(stripe_lives(apart=True), st.data())
def test_the_running_totals_alone_are_enough(life: Life, data: st.DataObject) -> None:
    _check(life, life.picked("charge"), data)


@given(stripe_lives(apart=True), st.data())
def test_totals_of_new_refunds_and_the_failures_are_enough(life: Life, data: st.DataObject) -> None:
    bodies = [body for body in life.picked("charge", "failure") if b'"charge.updated"' not in body]
    _check(life, bodies, data)


@given(stripe_lives(apart=True, created=False), st.data())
def test_refunds_without_a_time_are_put_where_they_fit(life: Life, data: st.DataObject) -> None:
    _check(life, life.picked("charge", "refund", "failure"), data)


PAID = Payment(id="pi_1", charge="ch_1", amount=CAPTURED)


def test_a_failed_refund_takes_the_running_total_back_and_a_later_refund_counts_again() -> None:
    """The case that was reported: the first event of the refund is its failure, without the time of its creation."""
    failed = _without_created(PAID.refund("refund.failed", CAPTURED, START + 2, status="failed"))
    bodies = [PAID.succeeded(), PAID.refunded(CAPTURED, START + 1)]
    assert payment_after(*bodies).status == "refunded"
    bodies.append(failed)
    assert (payment_after(*bodies).status, payment_after(*bodies).amount_refunded) == ("succeeded", 0)
    bodies.append(PAID.adjusted(0, START + 3))
    assert (payment_after(*bodies).status, payment_after(*bodies).amount_refunded) == ("succeeded", 0)
    bodies.append(PAID.refunded(500, START + 9))
    assert (payment_after(*bodies).status, payment_after(*bodies).amount_refunded) == ("partially_refunded", 500)


@pytest.mark.parametrize("second", [0, 1])
def test_a_total_that_comes_with_a_failure_holds_the_failure(second: int) -> None:
    """Two refunds without an earlier event, of 1500 and 500; the first fails."""
    failed = PAID.refund("refund.failed", 1500, START + 5, created=START + 1)
    bodies = PAID.succeeded(), PAID.refunded(CAPTURED, START + 1), failed, PAID.adjusted(500, START + 5 + second)
    assert payment_after(*bodies).amount_refunded == 500


def test_refunds_within_the_charge_are_known_one_by_one() -> None:
    def refund(name: str, amount: int, status: str) -> dict[str, Any]:
        return {"id": name, "object": "refund", "amount": amount, "currency": "usd", "status": status, "created": START}

    listed = {"object": "list", "data": [refund("re_1", 1500, "failed"), refund("re_2", 500, "succeeded")]}
    facts = facts_in([PAID.refunded(500, START + 1, refunds=listed)])
    found_refunds = {
        fact.id: (fact.status, fact.amount.amount, fact.payment_id) for fact in facts if isinstance(fact, RefundFact)
    }
    assert found_refunds == {"re_1": ("failed", 1500, "pi_1"), "re_2": ("succeeded", 500, "pi_1")}
    assert payment_after(PAID.succeeded(), PAID.refunded(500, START + 1, refunds=listed)).amount_refunded == 500


def test_the_released_part_of_a_partial_capture_is_no_refund_even_if_it_is_one_to_the_provider() -> None:
    released = PAID.refund("refund.created", 700, START + 1, reason="partial_capture")
    assert payment_after(PAID.succeeded(amount_received=1300), released).amount_refunded == 0


PART: Final = 1300
RELEASED: Final = CAPTURED - PART


def _released(at: int) -> bytes:
    """The refund that Stripe makes of the rest at a partial capture: no field distinguishes it from one of the merchant."""
    return PAID.refund("refund.created", RELEASED, at, "evt_rel", id="re_rel", created=START + 1)


@pytest.mark.parametrize("second", [0, 1, 2])
@pytest.mark.parametrize("later", [0, RELEASED, PART, 100])
@pytest.mark.parametrize("shape", ["listed", "alone", "both"])
def test_what_a_partial_capture_releases_is_never_a_refund(second: int, later: int, shape: str) -> None:
    at = START + 1 + second

    def charge(kind: str, when: int, refunds: dict[str, int]) -> bytes:
        listed = [{"id": name, "amount": amount, "currency": "usd", "status": "succeeded", "created": START + 1 + 100 * number}
                  for number, (name, amount) in enumerate(refunds.items())]  # fmt: skip
        changes = {"amount_captured": PART, "refunds": {"data": listed} if shape != "alone" else None}
        total = sum(refunds.values())
        return event(f"charge.{kind}", {**charge_object(PAID, START), "amount_refunded": total, **changes}, at=when)

    bodies = [PAID.succeeded(at, amount_received=PART), charge("captured", at, {"re_rel": RELEASED})]
    if shape != "listed":
        bodies.append(_released(at))
    if later:
        bodies.append(charge("refunded", START + 101, {"re_rel": RELEASED, "re_2": later}))
        bodies.append(PAID.refund("refund.created", later, START + 101, "evt_2", id="re_2", created=START + 101))
    for order in permutations(bodies):
        state = payment_after(*order)
        assert (state.money.amount, state.amount_refunded) == (PART, later)
    way = way_of(facts_in(bodies), PaymentState)
    kinds = [kind for old, new in zip([None, *way], way, strict=False) for kind in news.payment_news(old, new)]
    assert kinds == [billing.PaymentSucceeded, *[billing.PaymentRefunded] * bool(later)]


def test_a_refund_of_as_much_as_was_released_counts_even_if_the_release_was_not_reported() -> None:
    refund = PAID.refund("refund.created", RELEASED, START + 50, created=START + 50)
    assert payment_after(PAID.succeeded(amount_received=PART), refund).amount_refunded == RELEASED


@pytest.mark.parametrize("later", [RELEASED, PART, 100])
@pytest.mark.parametrize("after", [0, 1], ids=["in the second of the refund", "a second later"])
@pytest.mark.parametrize("second", [0, 1])
def test_a_refund_counts_where_stripe_makes_none_of_a_release(later: int, after: int, second: int) -> None:
    """Since the API of 2025-03-31 the running total has no release either; the captured amount comes again with each event."""
    made = START + 50

    def charge(kind: str, when: int, total: int) -> bytes:
        return event(f"charge.{kind}", {**charge_object(PAID, START), "amount_refunded": total, "amount_captured": PART}, at=when)

    bodies = [
        PAID.succeeded(START + second, amount_received=PART),
        charge("captured", START, 0),
        PAID.refund("refund.created", later, made, "evt_2", id="re_2", created=made),
        charge("refunded", made + after, later),
        charge("updated", made + 99, later),
    ]
    for order in permutations(bodies):
        assert payment_after(*order).amount_refunded == later


@pytest.mark.parametrize("sums", [(100,), (100, PART), (RELEASED + 100,), (RELEASED + 100, PART), (PART,), (RELEASED, PART)])
@pytest.mark.parametrize("stated", [True, False], ids=["with the total before", "without it"])
def test_the_running_total_alone_is_enough_where_stripe_makes_no_refund_of_a_release(sums: tuple[int, ...], stated: bool) -> None:
    """Without a smaller total, nothing shows that the first refund is not the release, or came after it."""
    shown = any(total < RELEASED for total in sums) or (stated and sums[0] != RELEASED)
    bodies = [PAID.succeeded(START, amount_received=PART)]
    for number, (was, total) in enumerate(zip((0, *sums), sums, strict=False)):
        charge = {**charge_object(PAID, START), "amount_refunded": total, "amount_captured": PART}
        extra = {"previous_attributes": {"amount_refunded": was}} if stated else {}
        bodies.append(event("charge.refunded", charge, at=START + 50 * (1 + number), **extra))
    for order in permutations(bodies):
        assert payment_after(*order).amount_refunded == sums[-1] - (0 if shown else RELEASED)


def test_an_answer_that_states_the_capture_again_hides_no_refund() -> None:
    refund = PAID.refund("refund.created", RELEASED, START + 50, created=START + 50)
    again = PAID.succeeded(START + 90, amount_received=PART)
    for order in permutations([PAID.succeeded(START, amount_received=PART), refund, again]):
        assert payment_after(*order).amount_refunded == RELEASED


def test_an_amount_captured_beyond_the_payment_is_no_refund() -> None:
    charge = PAID.adjusted(0, START + 1, amount_captured=2200)
    state = payment_after(PAID.succeeded(amount_received=2200), charge)
    assert (state.status, state.money.amount, state.amount_refunded) == ("succeeded", 2200, 0)
    assert payment_after(PAID.succeeded(amount_received=2200), PAID.refunded(2200, amount_captured=2200)).status == "refunded"


def test_a_state_from_before_refunds_were_kept_is_replaced_by_new_events() -> None:
    old = payment_after(PAID.succeeded())
    row = stored(old).replace(b'"provider"', b'"amount_refunded":2000,"provider"', 1)
    key = key_of(facts_in([PAID.succeeded()])[0])
    kept = state_in(key, Held(1, row))
    assert isinstance(kept, PaymentState)
    assert (kept.status, kept.amount_refunded) == ("refunded", 2000)
    failed = facts_in([PAID.refund("refund.failed", 1500, START + 5)])[-1]
    assert isinstance(failed, PaymentFact)
    after = fold(kept, failed)
    assert isinstance(after, PaymentState)
    assert (after.status, after.amount_refunded) == ("partially_refunded", 500)


def test_a_refund_is_created_succeeds_and_fails_and_stays_failed() -> None:
    bodies = [
        PAID.refund("refund.created", 500, START, status="pending"),
        PAID.refund("refund.updated", 500, START + 1, created=START),
        PAID.refund("refund.failed", 500, START + 2, created=START, failure_reason="lost_or_stolen_card"),
        PAID.refund("refund.updated", 500, START + 3, created=START),
    ]
    way = way_of(facts_in(bodies), RefundState)
    kinds = [news.refund_news(old, new) for old, new in zip([None, *way], way, strict=False)]
    assert kinds == [[billing.RefundCreated], [billing.RefundSucceeded], [billing.RefundFailed], []]
    assert (way[-1].fate.status, news.value_of(way[-1].failure)) == ("failed", "lost_or_stolen_card")


@given(stripe_lives(apart=False), st.data())
def test_each_refund_fails_at_most_once_and_ends_alike_in_every_order(life: Life, data: st.DataObject) -> None:
    facts = facts_in(_any_order(data, life.picked("charge", "refund", "failure")))
    ends = {}
    for name in {fact.id for fact in facts if isinstance(fact, RefundFact)}:
        way = way_of([fact for fact in facts if isinstance(fact, RefundFact) and fact.id == name], RefundState)
        kinds = [kind for old, new in zip([None, *way], way, strict=False) for kind in news.refund_news(old, new)]
        assert kinds.count(billing.RefundCreated) == 1
        assert kinds.count(billing.RefundFailed) == int(way[-1].fate.final)
        ends[name] = way[-1].fate.final
    remaining = sum(fact.amount.amount for name, gone in ends.items() if not gone for fact in _one(facts, name))
    assert remaining == life.total


def _one(facts: Iterable[Fact], name: str) -> list[RefundFact]:
    return [fact for fact in facts if isinstance(fact, RefundFact) and fact.id == name][:1]


@pytest.mark.parametrize("counted", [True, False], ids=["total still holds it", "total without it"])
def test_razorpays_failed_refund_takes_its_amount_back(counted: bool) -> None:  # a parameter of the test
    payment = RazorpayPayment(id="pay_1", amount=50_000)
    first = payment.refund("refund.processed", 20_000, START + 1, total=20_000, id="rfnd_1")
    second = payment.refund("refund.created", 10_000, START + 2, total=30_000, id="rfnd_2", status="pending")
    total = 30_000 if counted else 10_000
    failed = payment.refund("refund.failed", 20_000, START + 3, total=total, id="rfnd_1", status="failed", created_at=START + 1)
    for bodies in ([payment.captured(), first, second, failed], [failed, second, first, payment.captured()]):
        state = payment_after(*bodies)
        assert (state.status, state.amount_refunded) == ("partially_refunded", 10_000)


def test_a_refund_without_a_payment_is_kept_as_one() -> None:
    bare = event("refund.updated", {"id": "re_1", "amount": 5, "currency": "EUR", "status": None, "charge": None}, at=START)
    (fact,) = facts_in([bare])
    assert isinstance(fact, RefundFact)
    assert (fact.status, fact.payment_id, fact.amount.currency) == ("pending", None, "eur")
