"""Mode and account of the objects of events: kept once stated, in any order, and emitted with the news."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.ids import new_id
from schemas.envelope import Event
from streams.payments import news
from streams.payments.facts import DisputeFact, InvoiceFact, Money, PaymentFact, RefundFact, Stamp, SubscriptionFact
from streams.payments.fold import fold
from streams.payments.handler import _interpret
from streams.payments.steps import emitted, key_of, take
from streams.payments.store import Held, Loaded, Saved, row_of, state_in, stored
from tests.simulators.stripe import START, Invoice, Payment, Subscription

if TYPE_CHECKING:
    from streams.payments.facts import Fact
    from streams.payments.states import State

KINDS: dict[type[Fact], dict[str, Any]] = {
    PaymentFact: {"captured": Money(1, "eur")},
    RefundFact: {"status": "pending", "gone": False},
    DisputeFact: {"status": "won", "ended": True},
    SubscriptionFact: {"status": "active", "ended": False},
    InvoiceFact: {"phase": "paid"},
}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def fact(kind: type[Fact], at: int, livemode: bool | None, account: str | None) -> Fact:
    stamp = Stamp(at, 0, f"evt_{at}")
    return kind(provider="stripe", id="x_1", stamp=stamp, livemode=livemode, account=account, **KINDS[kind])


def folded(facts: list[Fact]) -> State:
    state: State | None = None
    for each in facts:
        state = state_in(key_of(each), Held(1, stored(fold(state, each))))
    assert state is not None
    return state


@each_kind
@given(
    origins=st.lists(
        st.tuples(st.none() | st.booleans(), st.none() | st.sampled_from(["acct_1", "acct_2"])), min_size=1, max_size=5
    ),
    data=st.data(),
)
def test_the_last_statement_is_kept_in_any_order_and_however_often_it_is_received(
    kind: type[Fact], origins: list[tuple[bool | None, str | None]], data: st.DataObject
) -> None:
    facts = [fact(kind, at, *marks) for at, marks in enumerate(origins)]
    received = data.draw(st.permutations(facts + data.draw(st.lists(st.sampled_from(facts), max_size=3))))
    state = folded(received)
    assert state.livemode == next((livemode for livemode, _ in reversed(origins) if livemode is not None), None)
    assert state.account == next((account for _, account in reversed(origins) if account is not None), None)
    assert row_of(state, 1)[-2:] == (state.livemode, state.account)


@each_kind
def test_a_state_from_before_they_were_kept_has_none_and_learns_them(kind: type[Fact]) -> None:
    old = stored(folded([fact(kind, 1, None, None)]))
    assert b"account" not in old
    assert b"live" not in old
    known = state_in(key_of(fact(kind, 1, None, None)), Held(1, old))
    assert (known.livemode, known.account) == (None, None)
    learned = fold(known, fact(kind, 2, livemode=True, account="acct_1"))
    assert (learned.livemode, learned.account) == (True, "acct_1")


PAYMENT = Payment(receipt_email="payer@example.com")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("payment_intent.succeeded", PAYMENT.succeeded()),
        ("refund.created", PAYMENT.refund("refund.created", 100)),
        ("charge.dispute.created", PAYMENT.disputed("created")),
        ("customer.subscription.created", Subscription().created()),
        ("invoice.paid", Invoice().paid()),
    ],
)
@pytest.mark.parametrize(("livemode", "account"), [(True, "acct_1"), (False, None), (None, None)])
def test_every_event_emitted_for_an_event_has_its_mode_and_account(
    kind: str, body: bytes, livemode: bool | None, account: str | None
) -> None:
    envelope = Event(
        id=new_id(), topic="webhooks.stripe", aggregate_id="x", source="/webhooks/stripe", type=f"com.stripe.{kind}",
        occurred_at=datetime.fromtimestamp(START, UTC),
        dataschema="urn:tallyhook:com.stripe.event:1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01", data=body,
        livemode=livemode, account=account,
    )  # fmt: skip
    outcome = emitted(take([_interpret(envelope)], {}, Loaded({}, set())), Saved({}, {}))
    assert [event for event in outcome if event.type.startswith("billing.")]
    for event in outcome:
        assert (event.livemode, event.account) == (livemode, account)
        data = orjson.loads(event.data)
        if event.type == "notification.send":
            data = data["data"]  # a template may mark a test
        if event.type != "alert.raised":
            assert (data.get("livemode"), data.get("account")) == (livemode, account)


@pytest.mark.parametrize("kind", ["subscription", "dispute"])
def test_a_mark_that_becomes_known_is_no_change_of_the_thing(kind: str) -> None:
    of = {"subscription": SubscriptionFact, "dispute": DisputeFact}[kind]
    old = fold(None, fact(of, 1, None, None))
    new = fold(old, fact(of, 2, livemode=True, account="acct_1"))
    assert getattr(news, f"{kind}_news")(old, new) == []
