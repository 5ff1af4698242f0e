"""The news of a change of state: billing events and notifications, decided by pure functions."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from schemas import billing
from schemas.currencies import NO_CURRENCY
from schemas.operations import AlertRaised, SendNotification
from streams.payments.states import DisputeState, InvoiceState, Known, PaymentState, RefundState, SubscriptionState

Payment = billing.PaymentSucceeded | billing.PaymentRefunded | billing.PaymentFailed
Refund = billing.RefundCreated | billing.RefundSucceeded | billing.RefundFailed
Dispute = billing.DisputeCreated | billing.DisputeUpdated | billing.DisputeClosed
Subscription = billing.SubscriptionCreated | billing.SubscriptionUpdated | billing.SubscriptionCanceled
Invoice = billing.InvoiceCreated | billing.InvoicePaid | billing.InvoiceFailed


def payment_news(old: PaymentState | None, new: PaymentState) -> list[type[Payment]]:
    """Succeeded once, when the money is first reported as captured; refunded whenever the total grew."""
    news: list[type[Payment]] = []
    if new.captured is not None and (old is None or old.captured is None):
        news.append(billing.PaymentSucceeded)
    if new.amount_refunded > (old.amount_refunded if old else 0):
        news.append(billing.PaymentRefunded)
    if new.status == "failed" and (old is None or old.status != "failed"):
        news.append(billing.PaymentFailed)
    return news


def refund_news(old: RefundState | None, new: RefundState) -> list[type[Refund]]:
    """Created at the first event, succeeded when the provider has sent the money, failed once, even after that."""
    news: list[type[Refund]] = []
    if old is None:
        news.append(billing.RefundCreated)
    if new.fate.status == "succeeded" and (old is None or old.fate.status != "succeeded"):
        news.append(billing.RefundSucceeded)
    if new.fate.final and not (old and old.fate.final):
        news.append(billing.RefundFailed)
    return news


def dispute_news(old: DisputeState | None, new: DisputeState) -> list[type[Dispute]]:
    """Created at the first event, closed when it ends, updated on any other change that a subscriber can see."""
    news: list[type[Dispute]] = []
    if old is None:
        news.append(billing.DisputeCreated)
    if new.fate.final and not (old and old.fate.final):
        news.append(billing.DisputeClosed)
    if old is not None and not news and dispute_fields(old) != dispute_fields(new):
        news.append(billing.DisputeUpdated)
    return news


def alert_of(old: DisputeState | None, new: DisputeState) -> AlertRaised | None:
    """Return the alert about a dispute that is new or starts again: evidence is accepted for some days only."""
    if new.fate.final or (old is not None and not _starts_again(old, new)):
        return None
    respond_by = time_of(new.respond_by.at if new.respond_by else None)
    until = f"; evidence is taken until {respond_by:%Y-%m-%d %H:%M} UTC" if respond_by else ""
    return AlertRaised(
        alert="payment_disputed",
        subject=new.id,
        summary=f"the payer's bank disputes the payment {value_of(new.payment) or '(not named)'} ({new.fate.status}){until}",
        runbook="runbooks/payment-disputed.md",
    )


def _starts_again(old: DisputeState, new: DisputeState) -> bool:
    """Return true if a closed dispute is open again, or an inquiry (`warning_…`) has become a chargeback with a new deadline."""
    return old.fate.final or (old.fate.status.startswith(_INQUIRY) and not new.fate.status.startswith(_INQUIRY))


def subscription_news(old: SubscriptionState | None, new: SubscriptionState) -> list[type[Subscription]]:
    """Created once, canceled when it ends, updated on any other change that a subscriber can see."""
    news: list[type[Subscription]] = []
    if old is None:
        news.append(billing.SubscriptionCreated)
    if new.current.ended and not (old and old.current.ended):
        news.append(billing.SubscriptionCanceled)
    if old is not None and not news and subscription_fields(old) != subscription_fields(new):
        news.append(billing.SubscriptionUpdated)
    return news


def invoice_news(old: InvoiceState | None, new: InvoiceState) -> list[type[Invoice]]:
    """Created when the invoice first states its own phase, paid once, failed for every failed attempt that is the last one."""
    news: list[type[Invoice]] = []
    if new.billed is not None and (old is None or old.billed is None):
        news.append(billing.InvoiceCreated)
    if new.status == "paid" and (old is None or old.status != "paid"):
        news.append(billing.InvoicePaid)
    if new.status == "payment_failed" and _has_failed_again(old, new):
        news.append(billing.InvoiceFailed)
    return news


def _has_failed_again(old: InvoiceState | None, new: InvoiceState) -> bool:
    """
    Return true for a later attempt than the last one that failed, also if the provider does not count it.

    An answer of the provider's API is dated later than the failure that it repeats: with the same count as a failure that was
    delivered, it is that one.
    """
    if new.failed_attempt > (old.failed_attempt if old else -1):
        return True
    if old is None or new.failed is None:
        return False
    # In a state of an earlier release only its last change is known, which may have come in the same second as this failure.
    earliest = old.failed.at + 1 if old.failed else old.updated
    if new.failed.at < earliest:
        return False
    return not new.failed.fetched or (old.failed is not None and old.failed.fetched)


def payment_fields(state: PaymentState, user_id: str | None) -> dict[str, Any]:
    """Return the data of a payment's event without its version; `user_id` is used if the provider names no user."""
    money = state.money
    return {
        "provider": state.provider,
        "provider_payment_id": state.id,
        "status": state.status,
        "amount": money.amount,
        "amount_refunded": state.amount_refunded,
        "currency": money.currency,
        "customer_id": value_of(state.customer),
        "user_id": value_of(state.user) or user_id,
        "invoice_id": value_of(state.invoice),
        "subscription_id": value_of(state.subscription),
    }


def refund_fields(state: RefundState, payment: PaymentState | None, user_id: str | None) -> dict[str, Any]:
    """Return the data of a refund's event without its version; `payment` is the refunded payment, after the refund."""
    money = state.money
    return {
        "provider": state.provider,
        "refund_id": state.id,
        "status": state.fate.status,
        "amount": money.amount,
        "currency": money.currency,
        "reason": value_of(state.reason),
        "failure_reason": value_of(state.failure),
        "provider_payment_id": value_of(state.payment),
        "payment_status": payment.status if payment else None,
        "payment_amount_refunded": payment.amount_refunded if payment else None,
        "customer_id": value_of(payment.customer) if payment else None,
        "user_id": (value_of(payment.user) if payment else None) or user_id,
    }


def dispute_fields(state: DisputeState) -> dict[str, Any]:
    money = state.money
    return {
        "provider": state.provider,
        "dispute_id": state.id,
        "status": state.fate.status,
        "amount": money.amount,
        "currency": money.currency,
        "reason": value_of(state.reason),
        "funds": state.funds,
        "respond_by": time_of(state.respond_by.at if state.respond_by else None),
        "provider_payment_id": value_of(state.payment),
    }


def subscription_fields(state: SubscriptionState) -> dict[str, Any]:
    current = state.current
    return {
        "provider": state.provider,
        "subscription_id": state.id,
        "status": current.status,
        "customer_id": value_of(state.customer),
        "current_period_end": time_of(current.current_period_end),
    }


def invoice_fields(state: InvoiceState) -> dict[str, Any]:
    money = state.money
    return {
        "provider": state.provider,
        "invoice_id": state.id,
        "status": state.status,
        "amount_due": money.amount,
        "amount_paid": state.amount_paid,
        "currency": money.currency,
        "subscription_id": value_of(state.subscription),
        "payment_id": value_of(state.payment),
    }


_INQUIRY: Final = "warning_"
_TEMPLATES: Final[dict[type[msgspec.Struct], str]] = {
    billing.PaymentSucceeded: "payment-succeeded",
    billing.PaymentFailed: "payment-failed",
    billing.PaymentRefunded: "payment-refunded",
    billing.RefundFailed: "payment-refund-failed",
    billing.InvoiceFailed: "invoice-payment-failed",
}


_REPORTS_INVOICES: Final = frozenset({"stripe"})
"""Providers that report an invoice's failure besides that of its payment: one failed renewal must cause one message only."""


class Payer(NamedTuple):
    """The recipient of a notification: the user, and the address that the provider has of the payer."""

    user_id: str | None
    contact: str | None


def notification_of(record: msgspec.Struct, payer: Payer | None) -> SendNotification | None:
    """
    The command that notifies a payer, if the news has a template and a contact is known; the template gets the event's data.

    The user's own contact comes first, the provider's address after it. No notification is sent without an amount that an event
    has stated, nor for a refund that the merchant has canceled. The failure of a payment for an invoice is notified as the
    failure of the invoice.
    """
    template = _TEMPLATES.get(type(record))
    to = (payer.user_id or payer.contact) if payer else None
    if template is None or payer is None or to is None or getattr(record, "currency", None) == NO_CURRENCY:
        return None
    if isinstance(record, billing.RefundFailed) and record.status != "failed":
        return None
    if isinstance(record, billing.PaymentFailed) and record.provider in _REPORTS_INVOICES and record.invoice_id:
        return None
    fallback = payer.contact if payer.contact != to else None
    return SendNotification(to=to, channel="EMAIL", template=template, data=msgspec.to_builtins(record), fallback=fallback)


def value_of(known: Known | None) -> str | None:
    return None if known is None else known.value


def time_of(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
