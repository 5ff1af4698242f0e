"""The objects inside Stripe's events, with the fields they really have, in the shape of the API before and after "basil"."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulators.stripe import Invoice, Payment, Subscription

Object = dict[str, Any]

DAY: Final = 86_400


class Shape(StrEnum):
    """An API version of each side of the change."""

    OLD = "2024-06-20"
    NEW = "2025-11-17.clover"


def payment_intent_object(payment: Payment, at: int) -> Object:
    """In the new shape the invoice is in `payment_details.order_reference`, in the old one in `invoice`."""
    links: Object = (
        {"invoice": payment.invoice}
        if payment.shape is Shape.OLD
        else {
            "customer_account": None,
            "excluded_payment_method_types": None,
            "payment_details": {"customer_reference": None, "order_reference": payment.invoice},
        }
    )
    return {
        "id": payment.id,
        "object": "payment_intent",
        "amount": payment.amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{payment.id}_secret_{payment.charge[3:]}",
        "confirmation_method": "automatic",
        "created": at,
        "currency": payment.currency,
        "customer": payment.customer,
        "description": "Order of the simulator",
        **links,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": payment.metadata,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"installments": None, "mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card", "link"],
        "processing": None,
        "receipt_email": payment.receipt_email,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def refund_object(payment: Payment, amount: int, at: int) -> Object:
    return {
        "id": f"re_{payment.charge[3:]}",
        "object": "refund",
        "amount": amount,
        "balance_transaction": f"txn_{payment.charge[3:]}",
        "charge": payment.charge,
        "created": at,
        "currency": payment.currency,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {},
        "payment_intent": payment.id,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def dispute_object(payment: Payment, at: int) -> Object:
    return {
        "id": f"du_{payment.charge[3:]}",
        "object": "dispute",
        "amount": payment.amount,
        "balance_transactions": [],
        "charge": payment.charge,
        "created": at,
        "currency": payment.currency,
        "evidence": {},
        "evidence_details": {"due_by": at + 7 * DAY, "has_evidence": False, "past_due": False, "submission_count": 0},
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": {},
        "payment_intent": payment.id,
        "reason": "fraudulent",
        "status": "needs_response",
    }


def charge_object(payment: Payment, at: int) -> Object:
    """The successful charge behind a payment intent; Stripe copies the intent's metadata to it."""
    link: Object = {"invoice": payment.invoice} if payment.shape is Shape.OLD else {}
    address = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": "10000", "state": None}
    return {
        "id": payment.charge,
        "object": "charge",
        "amount": payment.amount,
        "amount_captured": payment.amount,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": f"txn_{payment.charge[3:]}",
        "billing_details": {"address": address, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "SIMULATOR",
        "captured": True,
        "created": at,
        "currency": payment.currency,
        "customer": payment.customer,
        "description": "Order of the simulator",
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        **link,
        "livemode": False,
        "metadata": payment.metadata,
        "on_behalf_of": None,
        "outcome": {
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 29,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": payment.id,
        "payment_method": f"pm_{payment.charge[3:]}",
        "payment_method_details": {
            "card": {"brand": "visa", "country": "US", "exp_month": 8, "exp_year": 2030, "funding": "credit", "last4": "4242"},
            "type": "card",
        },
        "receipt_email": payment.receipt_email,
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{payment.charge}",
        "refunded": False,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded",
        "transfer_data": None,
        "transfer_group": None,
    }


def invoice_object(invoice: Invoice, at: int) -> Object:
    """The new shape has `parent` where the old one has `subscription` and `payment_intent`."""
    links: Object = (
        {
            "charge": None,
            "paid": False,
            "payment_intent": invoice.payment,
            "subscription": invoice.subscription,
            "subscription_details": {"metadata": {}},
        }
        if invoice.shape is Shape.OLD
        else {"amount_overpaid": 0, "parent": _invoice_parent(invoice)}
    )
    return {
        "id": invoice.id,
        "object": "invoice",
        "account_country": "DE",
        "account_name": "Simulator",
        "account_tax_ids": None,
        "amount_due": invoice.amount,
        "amount_paid": 0,
        "amount_remaining": invoice.amount,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": "subscription_cycle" if invoice.subscription else "manual",
        "collection_method": "charge_automatically",
        "created": at,
        "currency": invoice.currency,
        "customer": invoice.customer,
        "customer_email": invoice.customer_email,
        "customer_name": "A Payer",
        "default_payment_method": None,
        "description": None,
        "discounts": [],
        "due_date": None,
        "ending_balance": 0,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{invoice.id}",
        "invoice_pdf": f"https://pay.stripe.com/invoice/{invoice.id}/pdf",
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": [_line(invoice, at)],
            "has_more": False,
            "total_count": 1,
            "url": f"/v1/invoices/{invoice.id}/lines",
        },
        "livemode": False,
        "metadata": invoice.metadata,
        "next_payment_attempt": None,
        "number": "SIM-0001",
        **links,
        "period_end": at,
        "period_start": at,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
        "subtotal": invoice.amount,
        "total": invoice.amount,
        "webhooks_delivered_at": None,
    }


def _invoice_parent(invoice: Invoice) -> Object | None:
    if invoice.subscription is None:
        return None
    details = {"metadata": {}, "subscription": invoice.subscription}
    return {"quote_details": None, "subscription_details": details, "type": "subscription_details"}


def _line(invoice: Invoice, at: int) -> Object:
    line: Object = {
        "id": f"il_{invoice.id[3:]}",
        "object": "line_item",
        "amount": invoice.amount,
        "currency": invoice.currency,
        "description": "1 x Simulated (monthly)",
        "discountable": True,
        "invoice": invoice.id,
        "livemode": False,
        "metadata": {},
        "period": {"end": at + 30 * DAY, "start": at},
        "quantity": 1,
    }
    if invoice.shape is Shape.OLD:
        return {**line, "subscription": invoice.subscription, "type": "subscription" if invoice.subscription else "invoiceitem"}
    if invoice.subscription is None:
        item = {"invoice_item": f"ii_{invoice.id[3:]}", "proration": False, "subscription": None}
        return {**line, "parent": {"invoice_item_details": item, "type": "invoice_item_details"}}
    item = {"proration": False, "subscription": invoice.subscription, "subscription_item": f"si_{invoice.id[3:]}"}
    return {**line, "parent": {"subscription_item_details": item, "type": "subscription_item_details"}}


def invoice_payment_object(invoice: Invoice, payment: str, at: int) -> Object:
    """What links an invoice to one of its payments in the new shape."""
    return {
        "id": f"inpay_{invoice.id[3:]}",
        "object": "invoice_payment",
        "amount_paid": invoice.amount,
        "amount_requested": invoice.amount,
        "created": at,
        "currency": invoice.currency,
        "invoice": invoice.id,
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": payment, "type": "payment_intent"},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": at},
    }


def subscription_object(subscription: Subscription, at: int) -> Object:
    """The period is on the subscription in the old shape, on its items in the new one."""
    period = {"current_period_end": at + subscription.period, "current_period_start": at}
    old = subscription.shape is Shape.OLD
    item = {
        "id": subscription.item,
        "object": "subscription_item",
        "created": at,
        **({} if old else period),
        "metadata": {},
        "price": {
            "id": f"price_{subscription.item[3:]}",
            "object": "price",
            "active": True,
            "currency": subscription.currency,
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
            "type": "recurring",
            "unit_amount": subscription.amount,
        },
        "quantity": 1,
        "subscription": subscription.id,
    }
    return {
        "id": subscription.id,
        "object": "subscription",
        "application": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": at,
        "billing_mode": {"type": "classic"},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": at,
        "currency": subscription.currency,
        **(period if old else {}),
        "customer": subscription.customer,
        "days_until_due": None,
        "default_payment_method": None,
        "description": None,
        "ended_at": None,
        "items": {
            "object": "list",
            "data": [item],
            "has_more": False,
            "total_count": 1,
            "url": f"/v1/subscription_items?subscription={subscription.id}",
        },
        "latest_invoice": f"in_{subscription.id[4:]}",
        "livemode": False,
        "metadata": {},
        "pause_collection": None,
        "start_date": at,
        "status": "incomplete",
        "trial_end": None,
        "trial_start": None,
    }
