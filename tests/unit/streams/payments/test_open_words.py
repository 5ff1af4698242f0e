"""A field that a provider may set to null, omit, expand or extend never makes a dead letter, and leaves a valid state."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.razorpay import translate as translate_razorpay
from gateway.webhooks.sources.stripe import translate as translate_stripe
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas import registry
from schemas.envelope import Event
from schemas.razorpay import HANDLED_TYPES as RAZORPAY_TYPES
from schemas.stripe import HANDLED_TYPES as STRIPE_TYPES
from streams.errors import Poison
from streams.payments.handler import _interpret
from streams.payments.states import InvoiceState, PaymentState, State, SubscriptionState
from streams.payments.steps import claims_of, emitted, lines_of, take
from streams.payments.store import Held, Key, Loaded, Saved, row_of, state_in, stored
from tests.simulators import razorpay, stripe
from tests.stripe_data import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outbox.append import Received
    from schemas.envelope import Event

_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
STATUSES: Final = {"pending", "processing", "succeeded", "failed", "canceled", "partially_refunded", "refunded"}


class Effects:
    """The results of gateway and payments worker for one body, without a server."""

    def __init__(self, body: bytes, translate: Callable[[Arrival], Received] = translate_stripe) -> None:
        trace = new_trace()
        received = translate(Arrival(new_id(), trace.traceparent, "secret", body, _HEADERS))
        self.handled, event = received.handled, received.event
        interpreted = _interpret(event)
        self.lines = lines_of([interpreted])
        self.steps = take([interpreted], {}, Loaded({}, set()))
        self.states: dict[Key, State] = {key: taken[-1].new for key, taken in self.steps.items()}
        self.claims = claims_of(self.steps)
        self.emitted: list[Event] = emitted(self.steps, Saved({}, {}))
        for key, state in self.states.items():
            row_of(state, 1)
            assert state_in(key, Held(1, stored(state))) == state
        for event in self.emitted:
            registry.decode(event.dataschema, event.data)

    def only(self, kind: type[State]) -> Any:
        (state,) = (state for state in self.states.values() if isinstance(state, kind))
        return state

    @property
    def mailed(self) -> list[dict[str, Any]]:
        return [orjson.loads(event.data)["data"] for event in self.emitted if event.type == "notification.send"]

    def check(self) -> None:
        """Check the tables' constraints, and that no message has a missing amount."""
        for state in self.states.values():
            if isinstance(state, PaymentState):
                assert state.status in STATUSES
                assert state.money.amount >= 0
                assert (state.status in {"refunded", "partially_refunded"}) == (state.amount_refunded > 0)
            if isinstance(state, InvoiceState):
                assert state.status in {"draft", "open", "paid", "payment_failed", "void", "uncollectible"}
        assert all(mail.get("currency") != "xxx" for mail in self.mailed)


@pytest.mark.parametrize("kind", ["fixtures", "variants"])
def test_every_object_that_stripe_publishes_is_understood_or_ignored(kind: Any) -> None:
    seen = Counter[bool]()
    for body in events(kind):
        effects = Effects(body)
        effects.check()
        seen[effects.handled] += 1
        event = orjson.loads(body)
        if effects.handled and event["data"]["object"].get("id"):
            assert effects.states, event["type"]
        if not effects.handled:
            assert not effects.states
    assert seen[True] > 250


def _one_of_each() -> Iterator[dict[str, Any]]:
    """One event for each kind of object that we handle, in each API version."""
    found: set[tuple[str, str]] = set()
    for body in events("fixtures"):
        event = orjson.loads(body)
        key = (event["data"]["object"]["object"], event["api_version"])
        if event["type"] in STRIPE_TYPES and key not in found:
            found.add(key)
            yield event


def _places(value: Any, depth: int = 4) -> Iterator[tuple[Any, Any]]:
    """Every field within the object, as the dictionary that holds it and its name; of a list, the first entry."""
    if depth and isinstance(value, dict):
        for name in list(value):
            yield value, name
            yield from _places(value[name], depth - 1)
    elif depth and isinstance(value, list) and value:
        yield from _places(value[0], depth - 1)


_NEW_WORD: Final = "a_word_of_tomorrow"


def _changed(value: Any) -> Iterator[None]:
    """Set each field to null, remove it, then set it to an unknown word if it is a text; restore it each time."""
    for holder, name in list(_places(value)):
        before = holder[name]
        holder[name] = None
        yield
        del holder[name]
        yield
        if isinstance(before, str) and not before.startswith(("pi_", "ch_", "in_", "sub_", "cus_", "re_", "dp_", "cs_")):
            holder[name] = _NEW_WORD
            yield
        holder[name] = before


def test_each_field_of_stripes_objects_may_be_null_absent_or_new() -> None:
    tried = 0
    for event in _one_of_each():
        for _ in _changed(event["data"]["object"]):
            Effects(orjson.dumps(event)).check()
            tried += 1
    assert tried > 4000


def _razorpay_events() -> list[bytes]:
    payment, subscription = razorpay.Payment(notes={"user_id": "u-1"}), razorpay.Subscription()
    bodies = [payment.authorized(), payment.captured(), payment.failed(), payment.refund("refund.created", 1, total=1)]
    bodies += [payment.refund("refund.failed", 1, total=0, status="failed"), payment.disputed("created"), payment.disputed("won")]
    charged = subscription.charged(payment.entity(razorpay.START, status="captured", captured=True))
    return [*bodies, subscription.activated(), charged, subscription.cancelled()]


def test_each_field_of_razorpays_entities_may_be_null_absent_or_new_but_their_ids() -> None:
    tried = 0
    for body in _razorpay_events():
        event = orjson.loads(body)
        for holder in event["payload"].values():
            entity = holder["entity"]
            name = entity.pop("id")
            places = [place for place in _places(entity) if place[1] != "payment_id"]
            entity["id"] = name
            for at, field in places:
                before = at[field]
                for value in (None, _NEW_WORD) if isinstance(before, str) else (None,):
                    at[field] = value
                    Effects(orjson.dumps(event), translate_razorpay).check()
                    tried += 1
                del at[field]
                Effects(orjson.dumps(event), translate_razorpay).check()
                at[field] = before
    assert tried > 300


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": []}, {"payload": {}}, {"payload": {"payment": None}}])
@pytest.mark.parametrize("kind", ["account.app.authorization_revoked", *sorted(RAZORPAY_TYPES)])
def test_a_razorpay_event_without_a_payload_changes_nothing(kind: str, payload: dict[str, Any]) -> None:
    body = orjson.dumps({"event": kind, "account_id": "acc_1", "contains": [], "created_at": 1678282666, **payload})
    effects = Effects(body, translate_razorpay)
    assert (effects.handled, effects.states) == (kind in RAZORPAY_TYPES, {})


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {}}, {"data": {"object": None}}, {"data": {"object": {}}}])
@pytest.mark.parametrize("kind", ["account.updated", *sorted(STRIPE_TYPES)])
def test_a_stripe_event_without_an_object_changes_nothing(kind: str, data: dict[str, Any]) -> None:
    effects = Effects(orjson.dumps({"id": "evt_1", "object": "event", "type": kind, "created": 1795763000, **data}))
    assert (effects.handled, effects.states) == (kind in STRIPE_TYPES, {})


def effects_of(kind: str, subject: dict[str, Any]) -> Effects:
    effects = Effects(stripe.event(kind, subject, at=stripe.START, event_id="evt_1"))
    effects.check()
    return effects


@pytest.mark.parametrize("received", [{}, {"amount_received": None}])
def test_a_payment_whose_received_amount_is_missing_has_the_requested_amount(received: dict[str, Any]) -> None:
    subject = {"id": "pi_1", "object": "payment_intent", "amount": 4990, "currency": "eur", "receipt_email": "a@example.com"}
    effects = effects_of("payment_intent.succeeded", subject | received)
    assert effects.only(PaymentState).money == (4990, "eur")
    assert [mail["amount"] for mail in effects.mailed] == [4990]


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        ({"amount_received": 700, "currency": "eur"}, (700, "eur")),
        ({"amount": 700, "currency": None}, (700, "xxx")),
        ({"currency": "eur"}, (0, "xxx")),
        ({}, (0, "xxx")),
    ],
)
def test_an_amount_that_is_incomplete_is_stored_as_none_and_sent_to_nobody(
    amounts: dict[str, Any], shown: tuple[int, str]
) -> None:
    effects = effects_of("payment_intent.succeeded", {"id": "pi_1", "receipt_email": "a@example.com", **amounts})
    state = effects.only(PaymentState)
    assert (state.status, state.money) == ("succeeded", shown)
    whole = shown[1] != "xxx"
    assert (len(effects.claims.made), len(effects.mailed)) == (int(whole), int(whole))


@pytest.mark.parametrize(
    ("kind", "words", "status"),
    [
        ("invoice.payment_succeeded", {"closed": True, "paid": True, "forgiven": False}, "paid"),
        ("invoice.created", {"closed": False, "paid": False, "forgiven": False}, "draft"),
        ("invoice.updated", {"closed": True, "paid": False, "forgiven": True}, "uncollectible"),
        ("invoice.payment_failed", {"closed": False, "paid": False, "attempt_count": 1}, "payment_failed"),
        ("invoice.paid", {"status": None}, "paid"),
        ("invoice.created", {"status": None}, "draft"),
        ("invoice.sent", {}, "open"),
        ("invoice.voided", {}, "void"),
        ("invoice.deleted", {"status": "deleted"}, "void"),
        ("invoice.deleted", {"status": "draft"}, "void"),
        ("invoice.voided", {"status": "open"}, "void"),
        ("invoice.marked_uncollectible", {"status": "open"}, "uncollectible"),
        ("invoice.created", {"status": "open"}, "open"),
        ("invoice.updated", {"status": "draft"}, "draft"),
        ("invoice.deleted", {}, "void"),
        ("invoice.marked_uncollectible", {"status": None}, "uncollectible"),
        ("invoice.overdue", {"status": _NEW_WORD}, "open"),
        ("invoice.paid", {"status": _NEW_WORD}, "paid"),
        ("invoice.payment_action_required", {"status": "open"}, "open"),
    ],
)
def test_an_invoice_without_a_status_has_the_one_that_follows_from_the_rest(
    kind: str, words: dict[str, Any], status: str
) -> None:
    invoice = effects_of(kind, {"id": "in_1", "amount_due": 2000, "currency": "usd", **words}).only(InvoiceState)
    assert (invoice.status, invoice.money) == (status, (2000, "usd"))
    assert invoice.amount_paid == (2000 if status == "paid" else 0)


@pytest.mark.parametrize(
    ("kind", "status", "kept"),
    [
        ("updated", _NEW_WORD, _NEW_WORD),
        ("deleted", None, "canceled"),
        ("resumed", None, "active"),
        ("updated", None, "unknown"),
    ],
)
def test_a_subscription_keeps_the_word_that_it_has(kind: str, status: str | None, kept: str) -> None:
    state = effects_of(f"customer.subscription.{kind}", {"id": "sub_1", "status": status}).only(SubscriptionState)
    assert (state.current.status, state.current.ended) == (kept, kept == "canceled")


@pytest.mark.parametrize("value", ["", 5, True, [], ["a"], {"a": 1}, "x" * 300, "\ud83d", "a\0"])
@pytest.mark.parametrize("name", ["order_id", "invoice_id", "customer_id", "email", "notes", "contact"])
def test_no_broken_field_that_is_not_needed_loses_a_razorpay_payment(name: str, value: Any) -> None:
    body = orjson.loads(razorpay.Payment(amount=700, currency="INR").captured())
    body["payload"]["payment"]["entity"][name] = value
    state = Effects(json.dumps(body).encode(), translate_razorpay).only(PaymentState)
    assert (state.status, state.money) == ("succeeded", (700, "inr"))


@pytest.mark.parametrize("value", ["", 5, True, [], ["a"], {"a": 1}, {"id": 5}, "x" * 5000, "\ud83d", "a\0"])
@pytest.mark.parametrize(
    "name", ["customer", "receipt_email", "metadata", "invoice", "payment_details", "description", "latest_charge", "unheard_of"]
)
def test_no_broken_field_that_is_not_needed_loses_a_stripe_payment(name: str, value: Any) -> None:
    subject = {"id": "pi_1", "object": "payment_intent", "amount_received": 700, "currency": "eur", name: value}
    body = json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "created": 1795763000, "data": {"object": subject}})
    state = Effects(body.encode()).only(PaymentState)
    assert (state.status, state.money) == ("succeeded", (700, "eur"))


@pytest.mark.parametrize("currency", ["us\0", "\ud83d", "", "dollars", 5, "€", "x" * 5000])
def test_a_wrong_currency_loses_no_payment_and_is_sent_to_nobody(currency: Any) -> None:
    subject = {"id": "pi_1", "amount_received": 700, "currency": currency, "receipt_email": "a@example.com"}
    body = json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "created": 1795763000, "data": {"object": subject}})
    effects = Effects(body.encode())
    effects.check()
    state = effects.only(PaymentState)
    assert (state.status, state.money, effects.mailed) == ("succeeded", (700, "xxx"), [])


@pytest.mark.parametrize("value", ["700", 700.5, True, -700, [700]])
def test_an_amount_that_is_none_is_a_dead_letter_and_no_payment_of_nothing(value: Any) -> None:
    with pytest.raises(Poison, match="amount_received"):
        effects_of("payment_intent.succeeded", {"id": "pi_1", "amount_received": value, "currency": "eur"})
