"""A payer gets one message for each important change, at the best known address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schemas import billing
from streams.payments.facts import DisputeFact, Stamp
from streams.payments.fold import fold_dispute
from streams.payments.news import Payer, alert_of, notification_of

if TYPE_CHECKING:
    from streams.payments.states import DisputeState


def failed(**changes: Any) -> billing.PaymentFailed:
    fields = {
        "provider": "stripe", "provider_payment_id": "pi_1", "status": "failed", "amount": 2000, "amount_refunded": 0,
        "currency": "usd", "version": 1, **changes,
    }  # fmt: skip
    return billing.PaymentFailed(**fields)


@pytest.mark.parametrize(
    ("payer", "to", "fallback"),
    [
        (Payer("u-1", "payer@example.com"), "u-1", "payer@example.com"),
        (Payer("u-1", None), "u-1", None),
        (Payer(None, "payer@example.com"), "payer@example.com", None),
    ],
)
def test_the_user_comes_first_and_the_address_of_the_provider_after_it(payer: Payer, to: str, fallback: str | None) -> None:
    command = notification_of(failed(), payer)
    assert command is not None
    assert (command.to, command.fallback) == (to, fallback)


def test_one_failed_renewal_is_one_message() -> None:
    payer = Payer("u-1", None)
    invoice = billing.InvoiceFailed(
        provider="stripe", invoice_id="in_1", status="payment_failed", amount_due=2000, amount_paid=0, currency="usd", version=1
    )
    commands = [notification_of(record, payer) for record in (failed(invoice_id="in_1"), invoice)]
    assert [command.template for command in commands if command] == ["invoice-payment-failed"]


def test_a_failed_renewal_of_a_provider_without_invoices_is_notified_by_its_payment() -> None:
    command = notification_of(failed(provider="razorpay", invoice_id="inv_1"), Payer("u-1", None))
    assert command is not None
    assert command.template == "payment-failed"


def test_without_a_recipient_nothing_is_sent() -> None:
    assert notification_of(failed(), Payer(None, None)) is None
    assert notification_of(failed(), None) is None


@pytest.mark.parametrize(
    ("statuses", "alerts"),
    [
        ([("needs_response", False), ("under_review", False), ("won", True)], [True, False, False]),
        ([("warning_needs_response", False), ("warning_under_review", False), ("warning_closed", True)], [True, False, False]),
        ([("warning_needs_response", False), ("needs_response", False)], [True, True]),
        ([("warning_closed", True), ("needs_response", False), ("lost", True)], [False, True, False]),
        ([("won", True), ("under_review", False), ("lost", True)], [False, True, False]),
        ([("a_word_of_tomorrow", False)], [True]),
    ],
)
def test_an_alert_is_raised_for_a_dispute_whenever_it_begins(statuses: list[tuple[str, bool]], alerts: list[bool]) -> None:
    state: DisputeState | None = None
    raised = []
    for number, (status, ended) in enumerate(statuses):
        fact = DisputeFact(provider="stripe", id="dp_1", stamp=Stamp(number, 0, f"evt_{number}"), status=status, ended=ended)
        old, state = state, fold_dispute(state, fact)
        raised.append(alert_of(old, state) is not None)
    assert raised == alerts
