"""What a change of state is worth saying: billing events and notifications, decided by pure functions."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas import billing
from schemas.operations import SendNotification
from streams.payments.fold import InvoiceState, Known, PaymentState, SubscriptionState

Payment = billing.PaymentSucceeded | billing.PaymentRefunded | billing.PaymentFailed
Subscription = billing.SubscriptionCreated | billing.SubscriptionUpdated | billing.SubscriptionCanceled
Invoice = billing.InvoiceCreated | billing.InvoicePaid | billing.InvoiceFailed


def payment_news(old: PaymentState | None, new: PaymentState) -> list[type[Payment]]:
    """Succeeded once in a life, when the money is first known to be in; refunded whenever the total grew."""
    news: list[type[Payment]] = []
    if new.captured is not None and (old is None or old.captured is None):
        news.append(billing.PaymentSucceeded)
    if new.amount_refunded > (old.amount_refunded if old else 0):
        news.append(billing.PaymentRefunded)
    if new.status == "failed" and (old is None or old.status != "failed"):
        news.append(billing.PaymentFailed)
    return news


def subscription_news(old: SubscriptionState | None, new: SubscriptionState) -> list[type[Subscription]]:
    """Created once, canceled when it ends, updated on any other change that a subscriber can see."""
    news: list[type[Subscription]] = []
    if old is None:
        news.append(billing.SubscriptionCreated)
    if new.standing.ended and not (old and old.standing.ended):
        news.append(billing.SubscriptionCanceled)
    if old is not None and not news and subscription_fields(old) != subscription_fields(new):
        news.append(billing.SubscriptionUpdated)
    return news


def invoice_news(old: InvoiceState | None, new: InvoiceState) -> list[type[Invoice]]:
    """Created when it first speaks for itself, paid once, failed for every attempt that is the last one and failed."""
    news: list[type[Invoice]] = []
    if new.billed is not None and (old is None or old.billed is None):
        news.append(billing.InvoiceCreated)
    if new.status == "paid" and (old is None or old.status != "paid"):
        news.append(billing.InvoicePaid)
    if new.status == "payment_failed" and new.failed_attempt > (old.failed_attempt if old else -1):
        news.append(billing.InvoiceFailed)
    return news


def payment_fields(state: PaymentState, user_id: str | None) -> dict[str, Any]:
    """The data of a payment's event but for its version; `user_id` stands in where the provider names nobody."""
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


def subscription_fields(state: SubscriptionState) -> dict[str, Any]:
    standing = state.standing
    return {
        "provider": state.provider,
        "subscription_id": state.id,
        "status": standing.status,
        "customer_id": value_of(state.customer),
        "current_period_end": time_of(standing.current_period_end),
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


_TEMPLATES: Final[dict[type[msgspec.Struct], str]] = {
    billing.PaymentSucceeded: "payment-succeeded",
    billing.PaymentFailed: "payment-failed",
    billing.PaymentRefunded: "payment-refunded",
    billing.InvoiceFailed: "invoice-payment-failed",
}


def notification_of(record: msgspec.Struct, to: str | None) -> SendNotification | None:
    """The command that tells a payer, where the news has a template and somebody is known; the template gets the event's data."""
    template = _TEMPLATES.get(type(record))
    if template is None or to is None:
        return None
    return SendNotification(to=to, channel="EMAIL", template=template, data=msgspec.to_builtins(record))


def value_of(known: Known | None) -> str | None:
    return None if known is None else known.value


def time_of(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
