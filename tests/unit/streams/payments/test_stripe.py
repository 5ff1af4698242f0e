"""The facts of Stripe's events in both shapes of the API."""

from __future__ import annotations

import re
from contextlib import suppress
from random import Random

import orjson
import pytest

from schemas.stripe import HANDLED_TYPES
from schemas.stripe_snapshots import deletion_of
from streams.errors import Poison
from streams.payments import news
from streams.payments.facts import DisputeFact, Fact, InvoiceFact, Money, PaymentFact, Stamp, SubscriptionFact, Total
from streams.payments.fold import fold
from streams.payments.states import InvoiceState
from streams.payments.stripe import TRANSLATORS, facts_of
from tests.simulators.stripe import START, Invoice, Payment, Subscription, event
from tests.simulators.stripe_objects import DAY, Shape, charge_object, invoice_payment_object

BOTH = pytest.mark.parametrize("shape", list(Shape))


def only(kind: str, body: bytes) -> PaymentFact:
    (fact,) = (fact for fact in facts_of(kind, body) if isinstance(fact, PaymentFact))
    return fact


def test_the_handled_types_are_those_that_have_a_translator() -> None:
    assert set(TRANSLATORS) == HANDLED_TYPES


@pytest.mark.parametrize("kind", sorted(HANDLED_TYPES))
@BOTH
def test_every_handled_type_has_a_fact(kind: str, shape: Shape) -> None:
    payment = Payment(shape=shape)
    subject = {
        "payment_intent": payment.succeeded(),
        "charge": payment.disputed("created") if "dispute" in kind else payment.refunded(1),
        "refund": payment.refund(kind, 1),
        "checkout": event("checkout.session.completed", {"id": "cs_1", "payment_intent": "pi_1"}, at=START),
        "invoice": Invoice(shape=shape).created(),
        "invoice_payment": Invoice(shape=shape).paid_by("pi_1"),
        "customer": Subscription(shape=shape).created(),
    }[kind.partition(".")[0]]
    body = orjson.dumps({**orjson.loads(subject), "type": kind})
    assert facts_of(kind, body)
    assert facts_of(kind, re.sub(rb":(\d+)(?=[,}\]])", rb":\1.0", body)) == facts_of(kind, body), "an integer may end in .0"


def test_a_type_without_handler_has_no_fact() -> None:
    assert facts_of("customer.created", b"anything") == []


@BOTH
def test_a_payment_intent_names_its_payer_its_reference_and_its_invoice(shape: Shape) -> None:
    metadata = {"reference": "order-7", "user_id": "u-1"}
    payment = Payment(metadata=metadata, receipt_email="a@example.com", invoice="in_1", shape=shape)
    fact = only("payment_intent.succeeded", payment.succeeded(event_id="evt_1"))
    assert fact == PaymentFact(
        provider="stripe",
        id=payment.id,
        stamp=Stamp(START, 6, "evt_1"),
        requested=Money(1999, "usd"),
        captured=Money(1999, "usd"),
        reference="order-7",
        customer_id=payment.customer,
        user_id="u-1",
        contact="a@example.com",
        invoice_id="in_1",
    )


def test_the_steps_of_a_payment_are_distinguished() -> None:
    payment = Payment()
    bodies = {
        "created": payment.created(),
        "requires_action": payment.requires_action(),
        "processing": payment.processing(),
        "amount_capturable_updated": payment.capturable(),
        "payment_failed": payment.failed(),
        "canceled": payment.canceled(),
    }
    facts = {step: only(f"payment_intent.{step}", body) for step, body in bodies.items()}
    assert {step: fact.progress for step, fact in facts.items()} == {
        "created": "pending",
        "requires_action": "pending",
        "processing": "processing",
        "amount_capturable_updated": "processing",
        "payment_failed": "failed",
        "canceled": "canceled",
    }
    assert all(fact.captured is None for fact in facts.values())
    ranks = [fact.stamp.rank for fact in facts.values()]
    assert ranks == sorted(ranks)


def test_order_id_and_camel_case_user_are_understood_and_a_partial_capture_counts_what_came_in() -> None:
    payment = Payment(metadata={"order_id": "o-1", "userId": "u-2"})
    fact = only("payment_intent.succeeded", payment.succeeded(amount_received=700))
    assert (fact.reference, fact.user_id, fact.captured) == ("o-1", "u-2", Money(700, "usd"))


def test_an_order_reference_that_is_no_invoice_links_nothing() -> None:
    details = {"customer_reference": None, "order_reference": "PO-1234"}
    assert only("payment_intent.created", Payment().created(payment_details=details)).invoice_id is None


def test_a_text_too_long_for_an_index_names_no_user() -> None:
    long = Random(1).randbytes(1500).hex()
    details = {"customer_reference": None, "order_reference": f"in_{long}"}
    assert only("payment_intent.created", Payment().created(payment_details=details)).invoice_id is None
    session = {"id": "cs_1", "payment_intent": "pi_1", "client_reference_id": long, "payment_status": "paid"}
    assert only("checkout.session.completed", event("checkout.session.completed", session, at=START)).user_id is None
    named = event("checkout.session.completed", {**session, "client_reference_id": long[:500]}, at=START)
    assert only("checkout.session.completed", named).user_id == long[:500]


@BOTH
def test_a_refund_is_a_fact_of_the_payment_and_implies_that_it_was_paid(shape: Shape) -> None:
    payment = Payment(metadata={"order_id": "o-1"}, shape=shape)
    fact = only("charge.refunded", payment.refunded(500))
    assert (fact.id, fact.captured, fact.refunded, fact.reference) == (payment.id, Money(1999, "usd"), Total(START, 500), "o-1")


def test_releasing_an_authorisation_is_neither_a_payment_nor_a_refund() -> None:
    fact = only("charge.refunded", Payment().refunded(1999, captured=False, amount_captured=0))
    assert (fact.captured, fact.refunded) == (None, None)


def test_the_released_part_of_a_partial_capture_is_no_refund() -> None:
    payment = Payment(amount=1000)
    facts = [only("charge.refunded", payment.refunded(total, amount_captured=700)) for total in (300, 500)]
    assert [(fact.captured, fact.refunded) for fact in facts] == [
        (Money(700, "usd"), Total(START, 0)),
        (Money(700, "usd"), Total(START, 200)),
    ]


def test_a_charge_without_payment_intent_is_a_payment_of_its_own() -> None:
    payment = Payment()
    assert only("charge.refunded", payment.refunded(1, payment_intent=None)).id == payment.charge


def test_an_expanded_reference_is_as_good_as_an_id() -> None:
    body = Payment().succeeded(customer={"id": "cus_9", "object": "customer", "email": None})
    assert only("payment_intent.succeeded", body).customer_id == "cus_9"


@BOTH
def test_an_invoice_names_its_subscription(shape: Shape) -> None:
    invoice = Invoice(subscription="sub_1", shape=shape)
    assert facts_of("invoice.finalized", invoice.finalized(event_id="evt_1")) == [
        InvoiceFact(
            provider="stripe",
            id=invoice.id,
            stamp=Stamp(START, 1, "evt_1"),
            phase="open",
            billed=Money(2990, "eur"),
            customer_id=invoice.customer,
            contact="payer@example.com",
            subscription_id="sub_1",
        )
    ]


@BOTH
def test_the_line_of_an_invoice_names_the_subscription_where_the_invoice_does_not(shape: Shape) -> None:
    invoice = Invoice(subscription="sub_1", shape=shape)
    (fact,) = facts_of("invoice.created", invoice.created(subscription=None, parent=None))
    assert isinstance(fact, InvoiceFact)
    assert fact.subscription_id == "sub_1"


def test_an_old_invoice_links_its_payment() -> None:
    invoice = Invoice(subscription="sub_1", payment="pi_1", shape=Shape.OLD)
    invoice_fact, linked = facts_of("invoice.paid", invoice.paid())
    assert isinstance(invoice_fact, InvoiceFact)
    assert isinstance(linked, PaymentFact)
    assert (invoice_fact.payment_id, invoice_fact.phase, invoice_fact.amount_paid) == ("pi_1", "paid", 2990)
    assert (linked.id, linked.invoice_id, linked.subscription_id, linked.hinted) == (
        "pi_1",
        invoice.id,
        "sub_1",
        Money(2990, "eur"),
    )
    assert (linked.requested, linked.captured, linked.progress) == (None, None, None)


def test_a_new_invoice_links_the_payments_it_lists_and_counts_the_paid_one() -> None:
    def entry(payment: str, status: str) -> dict[str, object]:
        asked = {"amount_requested": 2990, "currency": "eur", "invoice": "in_1", "is_default": False, "status": status}
        return {**asked, "object": "invoice_payment", "payment": {"type": "payment_intent", "payment_intent": payment}}

    payments = {"object": "list", "data": [entry("pi_paid", "paid"), entry("pi_open", "canceled")], "has_more": False}
    invoice_fact, *linked = facts_of("invoice.paid", Invoice().paid(payments=payments))
    assert isinstance(invoice_fact, InvoiceFact)
    assert invoice_fact.payment_id == "pi_paid"
    assert {fact.id for fact in linked} == {"pi_paid", "pi_open"}


def test_an_invoice_payment_links_invoice_and_payment() -> None:
    invoice = Invoice()
    fact, linked = facts_of("invoice_payment.paid", invoice.paid_by("pi_1", event_id="evt_1"))
    stamp, requested = Stamp(START, 5, "evt_1"), Money(2990, "eur")
    assert fact == InvoiceFact(provider="stripe", id=invoice.id, stamp=stamp, hinted=requested, payment_id="pi_1")
    assert linked == PaymentFact(provider="stripe", id="pi_1", stamp=stamp, hinted=requested, invoice_id=invoice.id)


def test_an_invoice_paid_elsewhere_links_no_payment() -> None:
    elsewhere = {"type": "payment_record", "payment_record": "prec_1"}
    link = {**invoice_payment_object(Invoice(), "pi_1", START), "payment": elsewhere}
    body = event("invoice_payment.paid", link, at=START)
    (fact,) = facts_of("invoice_payment.paid", body)
    assert isinstance(fact, InvoiceFact)
    assert fact.payment_id is None


def test_a_failed_attempt_is_counted() -> None:
    (fact,) = facts_of("invoice.payment_failed", Invoice(metadata={"user_id": "u-1"}).payment_failed(attempt=2))
    assert isinstance(fact, InvoiceFact)
    assert (fact.phase, fact.attempt, fact.failed, fact.user_id) == ("open", 2, True, "u-1")


@BOTH
def test_a_subscription_has_its_status_and_period(shape: Shape) -> None:
    subscription = Subscription(shape=shape)
    body = subscription.updated(status="active", event_id="evt_1")
    assert facts_of("customer.subscription.updated", body) == [
        SubscriptionFact(
            provider="stripe",
            id=subscription.id,
            stamp=Stamp(START, 12, "evt_1"),
            status="active",
            ended=False,
            current_period_end=START + 30 * DAY,
            customer_id=subscription.customer,
        )
    ]


def test_the_latest_end_of_the_items_counts() -> None:
    subscription = Subscription()
    items = {"object": "list", "data": [{"current_period_end": START + 5}, {"current_period_end": START + 9}]}
    (fact,) = facts_of("customer.subscription.created", subscription.created(items=items))
    assert isinstance(fact, SubscriptionFact)
    assert fact.current_period_end == START + 9


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("payment_intent.succeeded", b"not json"),
        ("payment_intent.succeeded", b"{}"),
        ("payment_intent.succeeded", Payment().succeeded(amount="12.00")),
        ("payment_intent.succeeded", Payment().succeeded(amount=-1)),
        ("payment_intent.succeeded", Payment().succeeded(at=2**40)),
        ("payment_intent.succeeded", Payment(id="p" * 256).succeeded()),
        ("charge.refunded", Payment().refunded(2**63)),
    ],
)
def test_a_body_that_breaks_the_shape_is_poison(kind: str, body: bytes) -> None:
    with pytest.raises(Poison) as poison:
        facts_of(kind, body)
    assert poison.value.reason == "event_malformed"


def nested(kind: str, levels: int) -> bytes:
    """An event with a fraction, because of which its body is parsed a second time."""
    body = event(kind, {"id": "x_1", "metadata": "deep"}, at=START).replace(f":{START}".encode(), f":{START}.0".encode())
    return body.replace(b'"deep"', b'{"a":' * levels + b"1" + b"}" * levels)


@pytest.mark.parametrize("kind", sorted(HANDLED_TYPES))
def test_a_body_that_is_nested_too_deep_is_poison(kind: str) -> None:
    with pytest.raises(Poison) as poison:
        facts_of(kind, nested(kind, 100_000))
    assert poison.value.reason == "event_malformed"


@pytest.mark.parametrize("levels", [500, 1_500, 5_000, 15_000])
def test_a_body_that_some_pythons_read_is_facts_or_poison(levels: int) -> None:
    """Each release of Python has its own limit, and some decode a body that they cannot parse a second time."""
    with suppress(Poison):
        facts_of("payment_intent.succeeded", nested("payment_intent.succeeded", levels))


def test_an_event_recorded_as_another_type_is_poison() -> None:
    with pytest.raises(Poison) as poison:
        facts_of("payment_intent.succeeded", Payment().created())
    assert poison.value.reason == "event_mislabeled"


def bare(kind: str, **changes: object) -> PaymentFact:
    """A charge without a payment intent."""
    charge = {**charge_object(Payment(id="pi_1", charge="ch_1"), START), "payment_intent": None, "status": "succeeded", **changes}
    return only(f"charge.{kind}", event(f"charge.{kind}", charge, at=START))


@pytest.mark.parametrize(
    ("kind", "changes", "progress", "captured"),
    [
        ("succeeded", {}, None, 1999),
        ("succeeded", {"captured": False}, "processing", None),
        ("captured", {"amount_captured": 1500, "amount_refunded": 499}, None, 1500),
        ("captured", {"amount_captured": 2200}, None, 2200),
        ("pending", {"status": "pending", "captured": False, "paid": False}, "processing", None),
        ("pending", {"status": "pending", "captured": True, "paid": False}, "processing", None),
        ("pending", {"status": None, "captured": True, "paid": False}, "processing", None),
        ("updated", {"status": "pending", "captured": True, "paid": False}, "processing", None),
        ("updated", {"status": None, "captured": False, "paid": False}, "failed", None),
        ("pending", {"status": "pending", "captured": False, "paid": None}, "processing", None),
        ("failed", {"status": "failed", "paid": False, "captured": False}, "failed", None),
        ("expired", {"captured": False, "amount_refunded": 1999}, "canceled", None),
        ("refunded", {"captured": False, "amount_refunded": 1999}, "canceled", None),
        ("updated", {}, None, 1999),
        ("succeeded", {"captured": None, "paid": True, "amount_captured": 1999}, None, 1999),
        ("succeeded", {"captured": None, "paid": True, "amount_captured": 0}, "processing", None),
        ("failed", {"captured": None, "status": "failed", "paid": False, "amount_captured": 0}, "failed", None),
    ],
)
def test_a_bare_charge_is_a_payment_with_its_own_progress(
    kind: str, changes: dict[str, object], progress: str | None, captured: int | None
) -> None:
    fact = bare(kind, **changes)
    assert (fact.id, fact.progress) == ("ch_1", progress)
    assert fact.captured == (captured and Money(captured, "usd"))


def test_a_charge_of_an_intent_is_a_fact_of_the_intent_and_leaves_open_captures_to_it() -> None:
    charge_fact = bare("captured", payment_intent="pi_1", amount_captured=500)
    assert (charge_fact.id, charge_fact.captured, charge_fact.refunded) == ("pi_1", None, None)
    assert bare("captured", payment_intent="pi_1", amount_captured=500, amount_refunded=1499).captured == Money(500, "usd")
    assert bare("updated", payment_intent="pi_1", status="failed").progress is None


def test_a_paid_invoice_vouches_for_its_bare_charge_but_not_for_an_intent() -> None:
    invoice = Invoice(payment="pi_1", shape=Shape.OLD)
    assert only("invoice.paid", invoice.paid()).vouched is None
    charged = only("invoice.paid", invoice.paid(payment_intent=None, charge="ch_1"))
    assert (charged.id, charged.vouched) == ("ch_1", Money(2990, "eur"))
    assert only("invoice.paid", invoice.paid(payment_intent=None, charge="ch_1", paid_out_of_band=True)).vouched is None
    assert only("invoice.updated", invoice.updated(payment_intent=None, charge="ch_1")).vouched is None


def test_the_bare_charge_of_a_failed_attempt_has_failed_and_that_is_not_told_twice() -> None:
    invoice = Invoice(payment="pi_1", shape=Shape.OLD)
    charged = only("invoice.payment_failed", invoice.payment_failed(payment_intent=None, charge="ch_1"))
    assert (charged.id, charged.progress, charged.witnessed) == ("ch_1", "failed", True)
    assert only("invoice.payment_failed", invoice.payment_failed()).progress is None
    assert only("invoice.updated", invoice.updated(payment_intent=None, charge="ch_1")).progress is None


def test_a_bare_charge_is_vouched_for_in_the_new_shape_too() -> None:
    charged = {"type": "charge", "charge": "ch_1", "payment_intent": None}
    link = {**invoice_payment_object(Invoice(), "pi_1", START), "payment": charged}
    for kind, body in (
        ("invoice.paid", Invoice().paid(payments={"data": [link]})),
        ("invoice_payment.paid", event("invoice_payment.paid", link, at=START)),
    ):
        fact = only(kind, body)
        assert (fact.id, fact.vouched) == ("ch_1", Money(2990, "eur"))
    opened = {**link, "status": "open", "amount_paid": None}
    assert only("invoice.paid", Invoice().paid(payments={"data": [opened]})).vouched is None
    assert only("invoice_payment.paid", Invoice().paid_by("pi_1")).vouched is None


@pytest.mark.parametrize(
    ("kind", "changes", "phase"),
    [
        ("payment_succeeded", {"status": "open", "amount_remaining": 600}, "open"),
        ("payment_succeeded", {"status": "uncollectible", "amount_remaining": 600}, "uncollectible"),
        ("payment_succeeded", {"status": "open", "amount_remaining": 0}, "paid"),
        ("payment_succeeded", {"status": "paid", "amount_remaining": 0}, "paid"),
        ("payment_succeeded", {"status": None, "amount_remaining": 600}, "paid"),
        ("paid", {"status": "open", "amount_remaining": 600}, "paid"),
    ],
)
def test_an_attempt_that_pays_a_part_leaves_the_invoice_open(kind: str, changes: dict[str, object], phase: str) -> None:
    subject = {"id": "in_1", "amount_due": 1000, "amount_paid": 400, "currency": "usd", **changes}
    (fact,) = facts_of(f"invoice.{kind}", event(f"invoice.{kind}", subject, at=START))
    assert isinstance(fact, InvoiceFact)
    assert (fact.phase, fact.amount_paid) == (phase, 400)


def test_the_deletion_of_a_draft_that_was_never_known_creates_no_invoice() -> None:
    body = deletion_of("in_1", "fetched_1", START, account=None)
    (fact,) = facts_of("invoice.deleted", body)
    state = fold(None, fact)
    assert isinstance(state, InvoiceState)
    assert (state.status, news.invoice_news(None, state)) == ("void", [])


def session(step: str, **changes: object) -> list[Fact]:
    subject = {
        "id": "cs_1",
        "object": "checkout.session",
        "payment_intent": "pi_1",
        "payment_status": "paid",
        "amount_total": 4990,
        "currency": "eur",
        "customer": "cus_1",
        "customer_details": {"email": "payer@example.com"},
        "client_reference_id": "u-1",
        "metadata": {"order_id": "o-1"},
        **changes,
    }
    return facts_of(f"checkout.session.{step}", event(f"checkout.session.{step}", subject, at=START, event_id="evt_1"))


def test_a_checkout_session_links_its_payment_to_user_and_customer_and_vouches_once_it_is_paid() -> None:
    (paid,) = session("completed")
    assert isinstance(paid, PaymentFact)
    assert (paid.id, paid.vouched, paid.customer_id, paid.user_id) == ("pi_1", Money(4990, "eur"), "cus_1", "u-1")
    assert (paid.contact, paid.reference) == ("payer@example.com", "o-1")
    for step, status, progress in (
        ("completed", "unpaid", None),
        ("async_payment_failed", "unpaid", "failed"),
        ("expired", "unpaid", None),
    ):
        (fact,) = session(step, payment_status=status)
        assert isinstance(fact, PaymentFact)
        assert (fact.vouched, fact.progress) == (None, progress)


def test_a_checkout_session_links_the_invoice_of_its_subscription() -> None:
    (fact,) = session("completed", payment_intent=None, invoice="in_1", subscription="sub_1", metadata={"userId": "u-2"})
    assert isinstance(fact, InvoiceFact)
    assert (fact.id, fact.subscription_id, fact.customer_id, fact.user_id) == ("in_1", "sub_1", "cus_1", "u-2")
    assert session("completed", payment_intent=None) == []


@pytest.mark.parametrize(("due_by", "respond_by"), [(START + DAY, START + DAY), (0, None), (None, None)])
def test_a_dispute_that_takes_no_response_has_no_deadline(due_by: int | None, respond_by: int | None) -> None:
    body = orjson.loads(Payment().disputed("created"))
    body["data"]["object"]["evidence_details"]["due_by"] = due_by
    [fact] = (each for each in facts_of(body["type"], orjson.dumps(body)) if isinstance(each, DisputeFact))
    assert fact.respond_by == respond_by
