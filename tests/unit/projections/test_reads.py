"""The views have the fields that docs/contract.md names."""

from __future__ import annotations

import msgspec

from projections.reads import DisputeView, InvoiceView, PaymentView, ReadsEventView, RefundView, SubscriptionView


def fields(view: type[msgspec.Struct]) -> set[str]:
    return set(view.__struct_encode_fields__)


def test_a_payment_has_every_field_of_the_contract() -> None:
    named = """providerPaymentId provider status amount amountRefunded currency reconciliation invoiceId subscriptionId
               customerId userId livemode account version updatedAt events refunds disputes
               reference expectedAmount expectedCurrency"""
    assert fields(PaymentView) == set(named.split())


def test_subscriptions_invoices_and_events_have_every_field_of_the_contract() -> None:
    assert fields(SubscriptionView) >= {"id", "provider", "status", "customerId", "currentPeriodEnd", "version", "events"}
    named = "id provider status amountDue amountPaid currency subscriptionId paymentId version events"
    assert fields(InvoiceView) >= set(named.split())
    named = "id provider status amount currency reason failureReason paymentId version events"
    assert fields(RefundView) >= set(named.split())
    named = "id provider status amount currency reason funds respondBy paymentId version events"
    assert fields(DisputeView) >= set(named.split())
    assert fields(ReadsEventView) >= {"id", "type", "occurredAt"}


def test_unknown_values_are_left_out() -> None:
    optional = {field.name for field in msgspec.structs.fields(PaymentView) if not field.required}
    expected = {"expected_amount", "expected_currency"}
    assert optional == {"invoice_id", "subscription_id", "customer_id", "user_id", "livemode", "account"} | expected
