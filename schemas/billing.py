"""
What became of a payment, a refund, a dispute, a subscription or an invoice.

Amounts are in minor units of their currency (ISO 4217, lower case); `xxx` is the currency of an amount that no event has stated.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from schemas.providers import ProviderName
from schemas.rules import OPEN

_PROVIDERS: Final = "The provider's name. More of them may be added: a reader takes an unknown one as another provider."
Provider = Annotated[ProviderName, msgspec.Meta(description=_PROVIDERS, extra_json_schema={OPEN: True})]
PaymentStatus = Literal["pending", "processing", "succeeded", "failed", "canceled", "partially_refunded", "refunded"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Livemode = Annotated[bool, msgspec.Meta(description="False where no real money moves; absent where the provider does not say.")]
Account = Annotated[str, msgspec.Meta(description="The provider's account that it is of; absent where the provider names none.")]
InvoiceStatus = Literal["draft", "open", "paid", "payment_failed", "void", "uncollectible"]


class _Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Unknown fields are ignored, so that a reader outlives the addition of one."""

    livemode: Livemode | None = None
    account: Account | None = None


class PaymentData(_Fact, frozen=True, kw_only=True):
    """State of a payment just after the event; `version` counts the provider's events behind it."""

    provider: Provider
    provider_payment_id: str
    status: PaymentStatus
    amount: int
    amount_refunded: int
    currency: str
    version: int
    customer_id: str | None = None
    user_id: str | None = None
    invoice_id: str | None = None
    subscription_id: str | None = None


class PaymentSucceeded(PaymentData, frozen=True):
    """The money is in: said once a payment."""


class PaymentFailed(PaymentData, frozen=True):
    """An attempt failed and none has succeeded so far."""


class PaymentRefunded(PaymentData, frozen=True):
    """
    The refunded total grew; `amount_refunded` is the new total.

    A total that shrinks because a refund failed is told by `billing.refund.failed`.
    """


class PaymentMismatched(PaymentData, frozen=True, kw_only=True):
    """What was paid is not what `payments/expect` announced."""

    expected_amount: int
    expected_currency: str


class RefundData(_Fact, frozen=True, kw_only=True):
    """
    State of a refund just after the event.

    `status` is pending, requires_action, succeeded, failed or canceled, or the provider's own word where it is none of these.
    The last four fields tell of the payment that it belongs to, as it is with this refund.
    """

    provider: Provider
    refund_id: str
    status: str
    amount: int
    currency: str
    version: int
    reason: str | None = None
    failure_reason: str | None = None
    provider_payment_id: str | None = None
    payment_status: PaymentStatus | None = None
    payment_amount_refunded: int | None = None
    customer_id: str | None = None
    user_id: str | None = None


class RefundCreated(RefundData, frozen=True):
    """Heard of for the first time: money is on its way back."""


class RefundSucceeded(RefundData, frozen=True):
    """The provider has sent the money; it may still come back, and then `billing.refund.failed` follows."""


class RefundFailed(RefundData, frozen=True):
    """It failed or was canceled, which `status` tells: the money is with the merchant again, and no longer counts as refunded."""


class DisputeData(_Fact, frozen=True, kw_only=True):
    """
    State of a dispute just after the event; `status` is the provider's own word.

    `funds` says what became of the disputed amount, `respond_by` until when evidence is taken.
    """

    provider: Provider
    dispute_id: str
    status: str
    amount: int
    currency: str
    version: int
    reason: str | None = None
    funds: Literal["withdrawn", "reinstated"] | None = None
    respond_by: Moment | None = None
    provider_payment_id: str | None = None


class DisputeCreated(DisputeData, frozen=True):
    """Heard of for the first time: the payer's bank asks the money back."""


class DisputeUpdated(DisputeData, frozen=True):
    """Its status, its funds or another field changed."""


class DisputeClosed(DisputeData, frozen=True):
    """It is over: won, lost or withdrawn, which `status` tells."""


class SubscriptionData(_Fact, frozen=True, kw_only=True):
    """State of a subscription just after the event; `status` is the provider's own word."""

    provider: Provider
    subscription_id: str
    status: str
    version: int
    customer_id: str | None = None
    current_period_end: Moment | None = None


class SubscriptionCreated(SubscriptionData, frozen=True):
    """Seen for the first time."""


class SubscriptionUpdated(SubscriptionData, frozen=True):
    """Status, period or customer changed."""


class SubscriptionCanceled(SubscriptionData, frozen=True):
    """Ended for good."""


class InvoiceData(_Fact, frozen=True, kw_only=True):
    """State of an invoice just after the event."""

    provider: Provider
    invoice_id: str
    status: InvoiceStatus
    amount_due: int
    amount_paid: int
    currency: str
    version: int
    subscription_id: str | None = None
    payment_id: str | None = None


class InvoiceCreated(InvoiceData, frozen=True):
    """Seen for the first time."""


class InvoicePaid(InvoiceData, frozen=True):
    """Paid in full."""


class InvoiceFailed(InvoiceData, frozen=True):
    """A payment attempt failed and the invoice is not paid."""
