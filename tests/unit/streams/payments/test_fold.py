"""The fold gives the same result for any order and repetition of events, and a received payment stays received."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import billing
from schemas.currencies import NO_CURRENCY
from streams.payments import news
from streams.payments.facts import (
    UNSTATED,
    Before,
    DisputeFact,
    InvoiceFact,
    Money,
    PaymentFact,
    RefundFact,
    Stamp,
    SubscriptionFact,
)
from streams.payments.fold import fold
from streams.payments.states import DisputeState, InvoiceState, PaymentState, State, SubscriptionState
from streams.payments.steps import key_of
from streams.payments.store import Held, Key, row_of, state_in, stored
from streams.payments.stripe import TRANSLATORS, facts_of
from tests.simulators.stripe import START, Invoice, Payment, Subscription, event
from tests.simulators.stripe_objects import Shape, charge_object, subscription_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streams.payments.facts import Fact

PAID = {"succeeded", "partially_refunded", "refunded"}
SECONDS = st.integers(0, 3)
"""Few seconds, many events: most of them share one."""


def facts_in(bodies: Iterable[bytes], key: Key) -> list[Fact]:
    facts = [fact for body in bodies for kind in [_kind_of(body)] for fact in facts_of(kind, body)]
    return [fact for fact in facts if key_of(fact) == key]


def _kind_of(body: bytes) -> str:
    return next(kind for kind in TRANSLATORS if body.rstrip().endswith(f'"type": "{kind}"\n}}'.encode()))


def folded(facts: Iterable[Fact], key: Key) -> tuple[State, list[State]]:
    """The last state and all on the way, each kept as the table would keep it in between."""
    state: State | None = None
    way: list[State] = []
    for fact in facts:
        state = state_in(key, Held(1, stored(fold(state, fact))))
        way.append(state)
    assert state is not None
    return state, way


@st.composite
def _lives(draw: st.DrawFn, *events: tuple[Callable[..., bytes], st.SearchStrategy[dict[str, Any]]]) -> list[bytes]:
    """Events with ids in any order: ids break the last ties, and must be the same when an example is repeated."""
    choices = [st.tuples(st.just(build), SECONDS, words) for build, words in events]
    chosen = draw(st.lists(st.one_of(choices), min_size=1, max_size=7))
    ids = draw(st.permutations(range(len(chosen))))
    return [build(at=START + at, event_id=f"evt_{name}", **words) for name, (build, at, words) in zip(ids, chosen, strict=True)]


@st.composite
def payment_lives(draw: st.DrawFn) -> tuple[Key, list[bytes]]:
    shape = draw(st.sampled_from(Shape))
    payment = Payment(
        id="pi_1", charge="ch_1", customer="cus_0", metadata=draw(st.sampled_from([{}, {"order_id": "o-1"}])), shape=shape
    )
    invoice = Invoice(id="in_1", customer="cus_0", payment=payment.id, subscription="sub_1", shape=shape)
    plain: st.SearchStrategy[dict[str, Any]] = st.just({})
    someone = st.fixed_dictionaries({"customer": st.sampled_from([None, "cus_1", "cus_2"])})
    bodies = draw(
        _lives(
            (payment.created, someone),
            (payment.requires_action, plain),
            (payment.processing, someone),
            (payment.capturable, plain),
            (payment.failed, st.fixed_dictionaries({"amount": st.sampled_from([1999, 2500])})),
            (payment.canceled, plain),
            (payment.succeeded, st.fixed_dictionaries({"amount_received": st.sampled_from([1999, 1500])})),
            (payment.refunded, st.fixed_dictionaries({"total": st.sampled_from([1, 500, 1999])})),
            (invoice.paid_by, st.just({"payment": payment.id})),
            *([(invoice.paid, plain)] if shape is Shape.OLD else []),
        )
    )
    return Key("payment", "stripe", payment.id), bodies


@st.composite
def invoice_lives(draw: st.DrawFn) -> tuple[Key, list[bytes]]:
    payment, shape = draw(st.sampled_from([None, "pi_1"])), draw(st.sampled_from(Shape))
    invoice = Invoice(id="in_1", customer="cus_0", subscription="sub_1", payment=payment, shape=shape)
    plain: st.SearchStrategy[dict[str, Any]] = st.just({})
    attempts = st.fixed_dictionaries({"attempt_count": st.integers(0, 3)})
    bodies = draw(
        _lives(
            (invoice.created, plain),
            (invoice.finalized, plain),
            (invoice.updated, attempts),
            (invoice.payment_failed, st.fixed_dictionaries({"attempt": st.integers(0, 3)})),
            (invoice.paid, plain),
            (invoice.payment_succeeded, plain),
            (invoice.voided, plain),
            (invoice.marked_uncollectible, plain),
            (invoice.paid_by, st.fixed_dictionaries({"payment": st.sampled_from(["pi_1", "pi_2"])})),
        )
    )
    return Key("invoice", "stripe", invoice.id), bodies


@st.composite
def subscription_lives(draw: st.DrawFn) -> tuple[Key, list[bytes]]:
    subscription = Subscription(id="sub_1", customer="cus_0", shape=draw(st.sampled_from(Shape)))
    words = st.fixed_dictionaries({"status": st.sampled_from(["incomplete", "trialing", "active", "past_due", "unpaid"])})
    plain: st.SearchStrategy[dict[str, Any]] = st.just({})
    bodies = draw(
        _lives(
            (subscription.created, words),
            (subscription.updated, words),
            (subscription.paused, plain),
            (subscription.resumed, plain),
            (subscription.deleted, plain),
        )
    )
    return Key("subscription", "stripe", subscription.id), bodies


def _reordered(draw: st.DataObject, facts: Sequence[Fact]) -> list[Fact]:
    again = draw.draw(st.lists(st.sampled_from(facts), max_size=4))
    return draw.draw(st.permutations([*facts, *again]))


@given(st.one_of(payment_lives(), invoice_lives(), subscription_lives()), st.data())
def test_every_order_with_repetitions_gives_the_state_of_the_true_order(
    life: tuple[Key, list[bytes]], data: st.DataObject
) -> None:
    key, bodies = life
    facts = facts_in(bodies, key)
    in_order, _ = folded(sorted(facts, key=lambda fact: fact.stamp), key)
    reordered, _ = folded(_reordered(data, facts), key)
    assert reordered == in_order
    assert row_of(reordered, 1) == row_of(in_order, 1)


@given(payment_lives(), st.data())
def test_a_payment_succeeds_once_and_never_goes_back(life: tuple[Key, list[bytes]], data: st.DataObject) -> None:
    key, bodies = life
    _, way = folded(_reordered(data, facts_in(bodies, key)), key)
    states = [state for state in way if isinstance(state, PaymentState)]
    paid = [state.status in PAID for state in states]
    assert paid == sorted(paid)
    kinds = [kind for old, new in zip([None, *states], states, strict=False) for kind in news.payment_news(old, new)]
    assert kinds.count(billing.PaymentSucceeded) == int(any(paid))
    refunded = [0, *(state.amount_refunded for state in states)]
    grew = sum(new > old for old, new in pairwise(refunded))
    assert kinds.count(billing.PaymentRefunded) == grew


@given(invoice_lives(), st.data())
def test_an_invoice_is_created_and_paid_at_most_once(life: tuple[Key, list[bytes]], data: st.DataObject) -> None:
    key, bodies = life
    _, way = folded(_reordered(data, facts_in(bodies, key)), key)
    states = [state for state in way if isinstance(state, InvoiceState)]
    kinds = [kind for old, new in zip([None, *states], states, strict=False) for kind in news.invoice_news(old, new)]
    assert kinds.count(billing.InvoiceCreated) == int(states[-1].billed is not None)
    assert kinds.count(billing.InvoicePaid) == int(states[-1].status == "paid")


def payment_of(*bodies: bytes) -> PaymentState:
    key = next(key_of(fact) for fact in facts_of(_kind_of(bodies[0]), bodies[0]))
    state, _ = folded(facts_in(bodies, key), key)
    assert isinstance(state, PaymentState)
    return state


def invoice_of(invoice: Invoice, *bodies: bytes) -> InvoiceState:
    key = Key("invoice", "stripe", invoice.id)
    state, _ = folded(facts_in(bodies, key), key)
    assert isinstance(state, InvoiceState)
    return state


def test_a_success_is_accepted_after_a_failure_and_after_a_cancellation() -> None:
    payment = Payment()
    assert payment_of(payment.failed(START), payment.succeeded(START + 9)).status == "succeeded"
    assert payment_of(payment.canceled(START + 9), payment.succeeded(START)).status == "succeeded"


def test_a_cancellation_beats_every_step_but_success() -> None:
    payment = Payment()
    assert payment_of(payment.canceled(START), payment.processing(START + 5), payment.failed(START + 6)).status == "canceled"


def test_steps_of_one_second_count_in_the_order_of_a_life() -> None:
    payment = Payment()
    assert payment_of(payment.failed(), payment.processing(), payment.created()).status == "failed"


def test_a_refund_before_the_success_implies_it() -> None:
    payment = Payment()
    state = payment_of(payment.refunded(500))
    assert (state.status, state.money.amount, state.amount_refunded) == ("partially_refunded", 1999, 500)
    assert news.payment_news(None, state) == [billing.PaymentSucceeded, billing.PaymentRefunded]


def test_a_payment_is_refunded_once_the_whole_received_amount_went_back() -> None:
    payment = Payment(amount=1000)
    state = payment_of(payment.succeeded(amount_received=700), payment.refunded(1000, amount_captured=700))
    assert (state.status, state.amount_refunded) == ("refunded", 700)


def test_a_released_authorisation_leaves_a_canceled_payment() -> None:
    payment = Payment()
    released = payment.refunded(1999, START + 1, captured=False, amount_captured=0)
    assert payment_of(payment.capturable(), released, payment.canceled(START + 1)).status == "canceled"


def test_an_amount_from_another_object_is_replaced_by_the_payments_own_at_any_time() -> None:
    payment = Payment(amount=5000, currency="eur")
    link = Invoice().paid_by(payment.id, START + 99)
    assert payment_of(payment.created(), link).money.amount == 5000


def charge_of(kind: str, payment: Payment, at: int = START, **changes: Any) -> bytes:
    return event(f"charge.{kind}", {**charge_object(payment, at), **changes}, at=at)


DEBIT: Final[dict[str, Any]] = {"status": "pending", "paid": False, "captured": True}
"""A charge of a debit that takes days, such as SEPA, ACH or BACS: it is not paid yet."""
DECLINED: Final[dict[str, Any]] = {"status": "failed", "paid": False, "captured": False, "amount_captured": 0}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_payment_whose_charge_is_pending_is_processing(order: tuple[int, ...]) -> None:
    payment = Payment()
    bodies = [payment.processing(), charge_of("pending", payment, **DEBIT)]
    state = payment_of(*(bodies[place] for place in order))
    assert (state.status, state.own_failure, news.payment_news(None, state)) == ("processing", None, [])


def test_a_pending_charge_without_an_intent_is_processing() -> None:
    payment = Payment(id="ch_1", charge="ch_1")
    state = payment_of(charge_of("pending", payment, payment_intent=None, **DEBIT))
    assert (state.id, state.status, news.payment_news(None, state)) == ("ch_1", "processing", [])


def test_what_other_objects_say_of_a_payment_counts_until_the_payment_says_it_itself() -> None:
    """A charge keeps the metadata that its intent had at the attempt, and comes again with every refund."""
    key, old = Key("payment", "stripe", "pi_1"), {"order_id": "o-old", "user_id": "u-old"}
    payment = Payment(id="pi_1", charge="ch_1", customer="cus_new", metadata={"order_id": "o-new", "user_id": "u-new"})
    others = [
        charge_of("updated", payment, START + 60, metadata=old, customer="cus_old"),
        payment.refunded(5, START + 90, metadata=old, customer="cus_old"),
        event("checkout.session.completed", {"id": "cs_1", "payment_intent": "pi_1", "metadata": old}, at=START + 1),
        Invoice(payment="pi_1", metadata=old, shape=Shape.OLD, customer="cus_old").paid(START + 99),
    ]

    def names(*bodies: bytes) -> tuple[str, str | None, str | None]:
        state, _ = folded(facts_in(bodies, key), key)
        assert isinstance(state, PaymentState)
        return state.reference, news.value_of(state.customer), news.value_of(state.user)

    assert names(*others) == ("o-old", "cus_old", "u-old"), "until then"
    for order in permutations([payment.succeeded(), *others]):
        assert names(*order) == ("o-new", "cus_new", "u-new")


def test_a_bare_charge_speaks_for_itself() -> None:
    payment = Payment(id="ch_1", charge="ch_1")
    now = charge_of("updated", payment, START + 60, payment_intent=None, metadata={"order_id": "o-new"})
    before = charge_of("succeeded", payment, payment_intent=None, metadata={"order_id": "o-old"})
    assert payment_of(now, before).reference == payment_of(before, now).reference == "o-new"


@pytest.mark.parametrize("kind", ["failed", "updated"])
def test_the_amount_of_an_intent_is_not_that_of_an_earlier_attempt(kind: str) -> None:
    """The cart has become larger since the attempt was declined."""
    payment = Payment(amount=1000)
    bodies = [
        payment.failed(),
        charge_of("failed", payment, **DECLINED),
        payment.requires_action(START + 60, amount=2000),
        charge_of(kind, payment, START + 90, **DECLINED),
    ]
    for known in (bodies, bodies[::-1]):
        assert payment_of(*known).money == Money(2000, "usd")
    assert payment_of(bodies[1]).money == Money(1000, "usd"), "until the intent states its own"


def test_an_open_invoice_has_failed_once_an_attempt_has() -> None:
    """After a decline that allows no retry Stripe raises the count although no attempt was made."""
    invoice = Invoice()
    failed, noise = invoice.payment_failed(START, attempt=1), invoice.updated(START + 1, attempt_count=1)
    assert invoice_of(invoice, failed, noise).status == "payment_failed"
    assert invoice_of(invoice, failed, noise, invoice.updated(START + 2, attempt_count=2)).status == "payment_failed"
    assert invoice_of(invoice, failed, invoice.paid(START)).status == "paid"


def test_every_failed_attempt_of_an_invoice_is_news() -> None:
    invoice = Invoice()
    first = invoice_of(invoice, invoice.payment_failed(START, attempt=1))
    second = invoice_of(invoice, invoice.payment_failed(START, attempt=1), invoice.payment_failed(START + 9, attempt=2))
    assert news.invoice_news(first, second) == [billing.InvoiceFailed]
    assert news.invoice_news(second, second) == []


FAILURES: Final[dict[str, tuple[int, list[tuple[str, int, int]]]]] = {
    "once": (1, [("evt_1", 0, 1)]),
    "again, by hand, which Stripe does not count": (2, [("evt_1", 0, 1), ("evt_2", 60, 1)]),
    "the second delivered first": (1, [("evt_2", 60, 1), ("evt_1", 0, 1)]),
    "the first with its answer": (1, [("evt_1", 0, 1), ("fetched_1", 3, 1)]),
    "the answer first": (1, [("fetched_1", 3, 1), ("evt_1", 0, 1)]),
    "both with their answers": (2, [("evt_1", 0, 1), ("fetched_1", 3, 1), ("evt_2", 60, 1), ("fetched_2", 63, 1)]),
    "both with their answers first": (2, [("fetched_1", 3, 1), ("evt_1", 0, 1), ("fetched_2", 63, 1), ("evt_2", 60, 1)]),
    "a retry that is counted": (2, [("evt_1", 0, 1), ("fetched_1", 3, 1), ("fetched_2", 63, 2), ("evt_2", 60, 2)]),
    "two answers alone": (2, [("fetched_1", 3, 1), ("fetched_2", 63, 1)]),
}
"""The number of news, and the failed attempts as they arrive: the event, its second, and Stripe's count."""


@pytest.mark.parametrize(("number", "failures"), FAILURES.values(), ids=FAILURES)
def test_every_failed_attempt_of_an_invoice_is_news_once(number: int, failures: list[tuple[str, int, int]]) -> None:
    invoice = Invoice()
    bodies = [invoice.payment_failed(START + at, attempt, name) for name, at, attempt in failures]
    _, way = folded(facts_in(bodies, Key("invoice", "stripe", invoice.id)), Key("invoice", "stripe", invoice.id))
    states = [state for state in way if isinstance(state, InvoiceState)]
    kinds = [kind for old, new in zip([None, *states], states, strict=False) for kind in news.invoice_news(old, new)]
    assert kinds.count(billing.InvoiceFailed) == number


def test_the_failed_attempt_in_a_state_of_an_earlier_release_is_kept_and_not_repeated() -> None:
    invoice = Invoice()
    key = Key("invoice", "stripe", invoice.id)
    written = invoice_of(invoice, invoice.payment_failed(START, attempt=1))
    failed = b',"failed":' + msgspec.json.encode(written.failed)
    earlier = stored(written)
    assert failed in earlier
    old = state_in(key, Held(1, earlier.replace(failed, b"").replace(b'"failed_attempt"', b'"attempt":1,"failed_attempt"')))
    assert isinstance(old, InvoiceState)
    assert (old.status, old.failed) == ("payment_failed", None)
    for name, at, kinds in (("fetched_1", 3, []), ("evt_0", -9, []), ("evt_2", 60, [billing.InvoiceFailed])):
        [fact] = facts_in([invoice.payment_failed(START + at, 1, name)], key)
        new = fold(old, fact)
        assert isinstance(new, InvoiceState)
        assert news.invoice_news(old, new) == kinds
    [changed] = facts_in([invoice.updated(START + 60, attempt_count=1)], key)
    [failed_by_hand] = facts_in([invoice.payment_failed(START + 60, 1, "evt_2")], key)
    later = fold(old, changed)
    assert isinstance(later, InvoiceState)
    last = fold(later, failed_by_hand)
    assert isinstance(last, InvoiceState)
    assert news.invoice_news(later, last) == [billing.InvoiceFailed], "in the second of the last change"


@pytest.mark.parametrize(("last", "expected"), [(0, "canceled"), (-1, "canceled"), (1, "active")])
def test_the_end_of_a_subscription_is_final_against_all_that_is_not_later(last: int, expected: str) -> None:
    subscription = Subscription()
    key = Key("subscription", "stripe", subscription.id)
    bodies = [subscription.deleted(START), subscription.updated(START + last, status="active")]
    state, _ = folded(facts_in(bodies, key), key)
    assert isinstance(state, SubscriptionState)
    assert state.current.status == expected


def test_a_subscription_is_created_updated_and_canceled() -> None:
    subscription = Subscription()
    key = Key("subscription", "stripe", subscription.id)
    bodies = [
        subscription.created(),
        subscription.updated(status="active"),
        subscription.updated(START + 1, status="active", current_period_end=None),
        subscription.deleted(START + 2),
    ]
    _, way = folded(facts_in(bodies, key), key)
    states = [state for state in way if isinstance(state, SubscriptionState)]
    kinds = [news.subscription_news(old, new) for old, new in zip([None, *states], states, strict=False)]
    assert kinds == [
        [billing.SubscriptionCreated],
        [billing.SubscriptionUpdated],
        [billing.SubscriptionUpdated],
        [billing.SubscriptionCanceled],
    ]


def test_a_notification_goes_to_the_user_and_has_the_data_of_its_template() -> None:
    state = payment_of(Payment(id="pi_1", customer="cus_1").succeeded())
    record = billing.PaymentSucceeded(**news.payment_fields(state, "u-1"), version=1)
    command = news.notification_of(record, news.Payer("u-1", None))
    assert command is not None
    assert (command.to, command.channel, command.template) == ("u-1", "EMAIL", "payment-succeeded")
    assert (command.data["amount"], command.data["currency"], command.data["providerPaymentId"]) == (1999, "usd", "pi_1")
    assert news.notification_of(record, None) is None


@pytest.mark.parametrize("names", [("evt_1", "evt_2"), ("evt_2", "evt_1")])
@pytest.mark.parametrize(
    ("first", "second", "before"),
    [
        ({"status": "past_due"}, {"status": "active"}, {"status": "past_due", "latest_invoice": "in_1"}),
        ({"current_period_end": START}, {"current_period_end": START + 9}, {"current_period_end": START}),
        (
            {"items": {"data": [{"current_period_end": START + 9}]}},
            {"items": {"data": [{"current_period_end": START}]}},
            {"items": {"data": [{"id": "si_1", "current_period_end": START + 9}]}},
        ),
    ],
)
def test_of_two_updates_in_one_second_the_one_that_names_the_other_as_before_is_the_last(
    names: tuple[str, str], first: dict[str, Any], second: dict[str, Any], before: dict[str, Any]
) -> None:
    subscription, kind = Subscription(), "customer.subscription.updated"
    key = Key("subscription", "stripe", subscription.id)
    subject = subscription_object(subscription, START) | {"status": "active"}
    one = event(kind, subject | first, at=START, event_id=names[0])
    other = event(kind, subject | second, at=START, event_id=names[1], previous_attributes=before)
    for bodies in ([one, other], [other, one]):
        state, _ = folded(facts_in(bodies, key), key)
        assert isinstance(state, SubscriptionState)
        assert state.current.stamp.event == names[1]


@st.composite
def chains(draw: st.DrawFn) -> list[SubscriptionFact]:
    """Changes of one second that each name the previous value; no value repeats, so only one of them can be the last."""
    words = draw(
        st.lists(st.sampled_from(["trialing", "active", "past_due", "unpaid", "paused", "odd"]), min_size=2, unique=True)
    )
    names = draw(st.permutations(range(len(words) - 1)))
    return [
        SubscriptionFact(
            provider="stripe",
            id="sub_1",
            stamp=Stamp(START, 10, f"evt_{name}"),
            status=after,
            ended=False,
            before=Before(status=before),
        )
        for name, (before, after) in zip(names, pairwise(words), strict=True)
    ]


@given(chains(), st.data())
def test_a_chain_of_changes_within_one_second_ends_with_its_last_in_every_order(
    chain: list[SubscriptionFact], data: st.DataObject
) -> None:
    facts = _reordered(data, chain)
    state, _ = folded(facts, key_of(chain[0]))
    assert isinstance(state, SubscriptionState)
    assert state.current.status == chain[-1].status


@given(st.lists(st.sampled_from(["active", "past_due"]), min_size=3, max_size=5), st.data())
def test_changes_that_go_in_a_circle_end_alike_in_every_order(words: list[str], data: st.DataObject) -> None:
    facts = [
        SubscriptionFact(
            provider="stripe",
            id="sub_1",
            stamp=Stamp(START, 10, f"evt_{number}"),
            status=after,
            ended=False,
            before=Before(status=before),
        )
        for number, (before, after) in enumerate(pairwise(words))
    ]
    key = key_of(facts[0])
    assert folded(_reordered(data, facts), key)[0] == folded(facts, key)[0]


@pytest.mark.parametrize("names", [("evt_1", "evt_2", "evt_3"), ("evt_3", "evt_2", "evt_1")])
def test_the_status_of_a_dispute_decides_within_one_second(names: tuple[str, str, str]) -> None:
    payment = Payment()
    bodies = [
        payment.disputed("created", START, names[0], status="needs_response"),
        payment.disputed("updated", START, names[1], status="under_review"),
        payment.disputed("funds_withdrawn", START, names[2], status="needs_response"),
    ]
    for order in permutations(bodies):
        facts = [fact for body in order for fact in facts_of(_kind_of(body), body)]
        state, _ = folded(facts, key_of(facts[0]))
        assert isinstance(state, DisputeState)
        assert (state.fate.status, state.funds) == ("under_review", "withdrawn")


@pytest.mark.parametrize("names", [("evt_1", "evt_2"), ("evt_2", "evt_1")])
def test_an_invoice_has_the_items_that_it_got_in_the_second_in_which_it_was_created(names: tuple[str, str]) -> None:
    invoice = Invoice()
    created = invoice.created(START, names[0], amount_due=0)
    filled = invoice.updated(START, names[1], status="draft", amount_due=2990)
    for bodies in ([created, filled], [filled, created]):
        assert invoice_of(invoice, *bodies).money.amount == 2990


OWN: Final = Stamp(1, 0, "evt_own")
LESS: Final = (Stamp(2, 0, "evt_less"), Stamp(0, 0, "evt_before"))


@pytest.mark.parametrize("stamp", LESS)
@pytest.mark.parametrize("less", [UNSTATED, Money(700, NO_CURRENCY)])
def test_an_event_without_amount_or_currency_takes_none_away(stamp: Stamp, less: Money) -> None:
    def facts(money: Money, at: Stamp) -> list[Fact]:
        stated = None if money == UNSTATED else money
        return [
            PaymentFact(provider="stripe", id="x", stamp=at, requested=stated, captured=money),
            RefundFact(provider="stripe", id="x", stamp=at, status="pending", gone=False, amount=money),
            DisputeFact(provider="stripe", id="x", stamp=at, status="won", ended=True, amount=money),
            InvoiceFact(provider="stripe", id="x", stamp=at, billed=money, phase="draft"),
        ]

    for whole, part in zip(facts(Money(900, "eur"), OWN), facts(less, stamp), strict=True):
        for first, second in ((whole, part), (part, whole)):
            state = fold(fold(None, first), second)
            assert not isinstance(state, SubscriptionState)
            assert state.money == (900, "eur"), state
