"""Items of the lists of payments, subscriptions, invoices, leads and notifications."""

from datetime import datetime
from uuid import UUID

import msgspec

from schemas.billing import InvoiceStatus, PaymentStatus, Reconciliation
from schemas.leads import LeadStatus
from schemas.operations import Channel, NotificationStatus
from schemas.providers import ProviderName


class _Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Unknown values are left out."""


class _OfMoney(_Item, frozen=True, kw_only=True):
    """Fields of a payment, a subscription and an invoice."""

    provider: ProviderName  #: The provider.
    version: int  #: Number of the provider's events that produced this state.
    updated_at: datetime  #: When the state last changed, by the provider's clock.
    customer_id: str | None = None  #: The provider's id of the customer; absent if unknown.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.


class PaymentItem(_OfMoney, frozen=True, kw_only=True):
    """A payment in the list."""

    provider_payment_id: str  #: The provider's id of the payment.
    status: PaymentStatus  #: The current state.
    amount: int  #: In minor units of `currency`.
    amount_refunded: int  #: Total refunded so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    reconciliation: Reconciliation  #: The result of comparing the payment with its expectation.
    reference: str  #: The reference under which the payment is expected.
    expected_amount: int | None = None  #: In minor units of `expectedCurrency`; absent if nothing is expected.
    expected_currency: str | None = None  #: ISO 4217 code in lower case; absent if nothing is expected.
    invoice_id: str | None = None  #: The provider's id of the invoice; absent if there is none.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.
    user_id: str | None = None  #: Your id of the user; absent if unknown.


class SubscriptionItem(_OfMoney, frozen=True, kw_only=True):
    """A subscription in the list."""

    id: str  #: The provider's id of the subscription.
    status: str  #: The provider's own word.
    current_period_end: datetime | None = None  #: When the paid period ends; absent if unknown.


class InvoiceItem(_OfMoney, frozen=True, kw_only=True):
    """An invoice in the list."""

    id: str  #: The provider's id of the invoice.
    status: InvoiceStatus  #: The current state.
    amount_due: int  #: In minor units of `currency`.
    amount_paid: int  #: Paid so far, in minor units of `currency`.
    currency: str  #: ISO 4217 code in lower case; `xxx` if unknown.
    subscription_id: str | None = None  #: The provider's id of the subscription; absent if there is none.
    payment_id: str | None = None  #: The provider's id of the payment; absent if unknown.


class LeadItem(_Item, frozen=True, kw_only=True):
    """A lead in the list, without its payload."""

    id: UUID  #: The lead's id.
    partner_id: str  #: The partner's id, as configured here.
    external_lead_id: str  #: The partner's id of the lead.
    status: LeadStatus  #: The current state.
    attempts: int  #: Number of attempts made.
    failures: int  #: Number of attempts that count towards the limit.
    version: int  #: Number of the lead's events.
    received_at: datetime  #: When the lead arrived.
    updated_at: datetime  #: When the state last changed.
    next_attempt_at: datetime | None = None  #: When the next attempt is due; absent if none is.
    suppressed: str | None = None  #: Why the lead is held back; absent if it is not.


class NotificationItem(_Item, frozen=True, kw_only=True):
    """A notification in the list, without its data and its address."""

    id: UUID  #: The notification's id.
    to: str  #: The `to` of the command.
    channel: Channel  #: The channel of the command.
    template: str  #: The code of the template.
    status: NotificationStatus  #: The current state.
    attempts: int  #: Number of attempts made.
    updated_at: datetime  #: When the state last changed.
    next_attempt_at: datetime | None = None  #: When the next attempt is due; absent if none is.
    reason: str | None = None  #: The stable word for the failure or suppression; absent otherwise.
