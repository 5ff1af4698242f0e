"""One failure is one message to its payer, in whatever order the events of its objects arrive."""

from __future__ import annotations

import json
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from runtime.ids import new_id
from runtime.tracing import new_trace
from streams.payments.handler import _interpret
from streams.payments.steps import emitted, take
from streams.payments.store import Loaded, Saved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.payments.states import State
    from streams.payments.store import Key

_HEADERS: Final = CIMultiDictProxy(CIMultiDict[str]())
_MONEY: Final = {"amount": 2000, "currency": "usd", "customer": "cus_1", "receipt_email": "payer@example.com"}


def event(number: int, kind: str, body: dict[str, Any], created: int = 1_800_000_000) -> bytes:
    return json.dumps(
        {"id": f"evt_{number}", "object": "event", "type": kind, "created": created, "data": {"object": body}, "livemode": True}
    ).encode()


def charge(number: int, *, payment: str | None = "pi_1", created: int = 1_800_000_000) -> bytes:
    body = {"id": f"ch_{number}", "object": "charge", "status": "failed", "paid": False, "payment_intent": payment, **_MONEY}
    return event(number, "charge.failed", body, created)


def intent(number: int, invoice: str | None = None, created: int = 1_800_000_000) -> bytes:
    order = {"payment_details": {"order_reference": invoice}} if invoice else {}
    body = {"id": "pi_1", "object": "payment_intent", "status": "requires_payment_method", **_MONEY, **order}
    return event(number, "payment_intent.payment_failed", body, created)


def invoice(number: int) -> bytes:
    body = {
        "id": "in_1", "object": "invoice", "status": "open", "amount_due": 2000, "amount_paid": 0, "currency": "usd",
        "customer": "cus_1", "customer_email": "payer@example.com", "attempt_count": 1, "attempted": True,
    }  # fmt: skip
    return event(number, "invoice.payment_failed", body)


def mails(bodies: Iterable[bytes]) -> tuple[list[str], list[str]]:
    """The templates of the messages, and the types of the billing events, of events that come one by one."""
    states: dict[Key, tuple[State, int]] = {}
    templates, types = [], []
    for body in bodies:
        received = translate(Arrival(new_id(), new_trace().traceparent, "secret", body, _HEADERS))
        steps = take([_interpret(received.event)], states, Loaded({}, set()))
        for sent in emitted(steps, Saved({}, {})):
            if sent.type == "notification.send":
                templates.append(orjson.loads(sent.data)["template"])
            else:
                types.append(sent.type)
        states |= {key: (taken[-1].new, taken[-1].version) for key, taken in steps.items()}
    return templates, types


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_a_failed_renewal_is_one_message_although_its_charge_names_no_invoice(order: tuple[int, ...]) -> None:
    bodies = [charge(1), intent(2, invoice="in_1"), invoice(3)]
    templates, types = mails(bodies[place] for place in order)
    assert templates == ["invoice-payment-failed"]
    assert types.count("billing.payment.failed") == 1


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
@pytest.mark.parametrize("order", [*permutations(range(2))])
def test_a_failed_payment_is_one_message_of_its_intent(order: tuple[int, ...], ids: tuple[int, int]) -> None:
    bodies = [charge(ids[0]), intent(ids[1])]
    templates, types = mails(bodies[place] for place in order)
    assert (templates, types) == (["payment-failed"], ["billing.payment.failed"])


def test_a_charge_without_an_intent_is_notified_by_itself() -> None:
    assert mails([charge(1, payment=None)])[0] == ["payment-failed"]


def test_the_next_attempt_that_fails_is_no_second_message() -> None:
    later = 1_800_003_600
    bodies = [charge(1), intent(2), charge(3, created=later), intent(4, created=later)]
    assert mails(bodies)[0] == ["payment-failed"]
