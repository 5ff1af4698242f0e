"""
Events of payments, refunds, disputes, subscriptions and invoices.

Amounts are in minor units of their currency (ISO 4217, lower case); `xxx` is the currency of an amount that no event has stated.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from schemas.providers import ProviderName
from schemas.rules import OPEN

Provider = Annotated[ProviderName, msgspec.Meta(extra_json_schema=OPEN)]
PaymentStatus = Literal["pending", "processing", "succeeded", "failed", "canceled", "partially_refunded", "refunded"]
Reconciliation = Literal["matched", "mismatched", "unexpected"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Livemode = Annotated[bool, msgspec.Meta(description="False if no real money moves; absent if not stated.")]
Account = Annotated[str, msgspec.Meta(description="The provider's account; absent if it names none.")]
InvoiceStatus = Literal["draft", "open", "paid", "payment_failed", "void", "uncollectible"]


class _Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Fields that every record has; readers ignore unknown fields, so that a field can be added."""

    livemode: Livemode | None = None
    account: Account | None = None


class PaymentData(_Fact, frozen=True, kw_only=True):
    """State of a payment directly after the event."""

    provider: Provider  #: The provider of the payment; more providers may be added.
    provider_payment_id: str  #: The provider's id of the payment.
    status: PaymentStatus  #: The state directly after the event.
    amount: int  #: In minor units of `currency`.
    amount_refunded: int  #: Total refunded so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if no event has named one.
    version: int  #: Number of the provider's events that produced this state.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    user_id: str | None = None
    """Your id of the user, as named to `payments/expect` or in the provider's metadata; absent if unknown."""
    invoice_id: str | None = None  #: The provider's id of the invoice that the payment pays; absent if there is none.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.


class PaymentSucceeded(PaymentData, frozen=True):
    """
    A payment has succeeded.

    The event is published once for each payment, when the provider first reports the money as received.
    """


class PaymentFailed(PaymentData, frozen=True):
    """
    An attempt to pay has failed, and no attempt has succeeded so far.

    A later attempt may still succeed; `billing.payment.succeeded` follows then.
    """


class PaymentRefunded(PaymentData, frozen=True):
    """
    The refunded total of a payment has grown.

    `amountRefunded` is the new total. If a refund fails later, the total shrinks and `billing.refund.failed` reports it.
    """


class PaymentMismatched(PaymentData, frozen=True, kw_only=True):
    """
    The paid amount or currency differs from the expected one.

    The expectation is the one that your service announced with `POST /internal/v1/payments/expect`, before or after the
    payment.
    """

    expected_amount: int  #: The amount announced to `payments/expect`, in minor units of `expectedCurrency`.
    expected_currency: str  #: ISO 4217 code in lower case.


class RefundData(_Fact, frozen=True, kw_only=True):
    """State of a refund directly after the event; the last four fields describe its payment."""

    provider: Provider  #: The provider of the refund; more providers may be added.
    refund_id: str  #: The provider's id of the refund.
    status: str  #: `pending`, `requires_action`, `succeeded`, `failed`, `canceled`, or the provider's own word.
    amount: int  #: In minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if no event has named one.
    version: int  #: Number of the provider's events that produced this state.
    reason: str | None = None  #: The provider's word for why the money is returned; absent if unknown.
    failure_reason: str | None = None  #: The provider's word for why the refund failed; absent unless it failed.
    provider_payment_id: str | None = None  #: The provider's id of the refunded payment; absent if unknown.
    payment_status: PaymentStatus | None = None  #: The state of the payment after this refund; absent if unknown.
    payment_amount_refunded: int | None = None  #: Total refunded of the payment, in minor units; absent if unknown.
    customer_id: str | None = None  #: The provider's id of the payment's customer; absent if unknown.
    user_id: str | None = None  #: Your id of the payment's user; absent if unknown.


class RefundCreated(RefundData, frozen=True):
    """
    A refund was reported for the first time.

    The provider has accepted the refund; the money is on its way back to the payer.
    """


class RefundSucceeded(RefundData, frozen=True):
    """
    The provider has sent the refunded money.

    The money may still come back later; `billing.refund.failed` follows then.
    """


class RefundFailed(RefundData, frozen=True):
    """
    A refund has failed or was canceled.

    `status` distinguishes the two. The merchant has the money again, and it no longer counts as refunded.
    """


class DisputeData(_Fact, frozen=True, kw_only=True):
    """State of a dispute directly after the event."""

    provider: Provider  #: The provider of the disputed payment; more providers may be added.
    dispute_id: str  #: The provider's id of the dispute.
    status: str  #: The provider's own word.
    amount: int  #: The disputed amount, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if no event has named one.
    version: int  #: Number of the provider's events that produced this state.
    reason: str | None = None  #: The provider's word for the payer's reason; absent if unknown.
    funds: Literal["withdrawn", "reinstated"] | None = None  #: Whether the amount was withdrawn or paid back; absent before.
    respond_by: Moment | None = None  #: Until when evidence is accepted; absent if unknown.
    provider_payment_id: str | None = None  #: The provider's id of the disputed payment; absent if unknown.


class DisputeCreated(DisputeData, frozen=True):
    """
    A dispute was reported for the first time.

    The payer's bank demands the money back; `respondBy` is the deadline for evidence.
    """


class DisputeUpdated(DisputeData, frozen=True):
    """
    The status, the funds or another field of a dispute has changed.

    The event holds the complete new state, not only the changed fields.
    """


class DisputeClosed(DisputeData, frozen=True):
    """
    A dispute has ended.

    `status` is the outcome in the provider's own word: won, lost or withdrawn.
    """


class SubscriptionData(_Fact, frozen=True, kw_only=True):
    """State of a subscription directly after the event."""

    provider: Provider  #: The provider of the subscription; more providers may be added.
    subscription_id: str  #: The provider's id of the subscription.
    status: str  #: The provider's own word.
    version: int  #: Number of the provider's events that produced this state.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    current_period_end: Moment | None = None  #: End of the paid period; absent if unknown.


class SubscriptionCreated(SubscriptionData, frozen=True):
    """
    A subscription was reported for the first time.

    Its status may be any of the provider's, since events can arrive in any order.
    """


class SubscriptionUpdated(SubscriptionData, frozen=True):
    """
    The status, the period or the customer of a subscription has changed.

    The event holds the complete new state, not only the changed fields.
    """


class SubscriptionCanceled(SubscriptionData, frozen=True):
    """
    A subscription has ended for good.

    `status` is the last state in the provider's own word.
    """


class InvoiceData(_Fact, frozen=True, kw_only=True):
    """State of an invoice directly after the event."""

    provider: Provider  #: The provider of the invoice; more providers may be added.
    invoice_id: str  #: The provider's id of the invoice.
    status: InvoiceStatus  #: The state directly after the event.
    amount_due: int  #: In minor units of `currency`.
    amount_paid: int  #: Paid so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if no event has named one.
    version: int  #: Number of the provider's events that produced this state.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.
    payment_id: str | None = None  #: The provider's id of the payment; absent if unknown.


class InvoiceCreated(InvoiceData, frozen=True):
    """
    An invoice was reported for the first time.

    Its status may be any, since events can arrive in any order.
    """


class InvoicePaid(InvoiceData, frozen=True):
    """
    An invoice was paid in full.

    `paymentId` is the payment that completed it, if the provider names it.
    """


class InvoiceFailed(InvoiceData, frozen=True):
    """
    An attempt to pay an invoice has failed, and it is not paid.

    The provider may try again; `billing.invoice.paid` follows after a success.
    """
