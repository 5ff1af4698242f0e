"""The queries of the lists of current state, shared by the HTTP API, the commands and the console."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Meta

from gateway.errors import GatewayError, Reason
from gateway.paging import Paged, cursor_of, place_cursor, place_of, up_to
from projections.lists import Key, ListQuery
from runtime.ids import first_id_of
from runtime.moments import EPOCH
from schemas.billing import InvoiceStatus, PaymentStatus, Reconciliation
from schemas.leads import LeadStatus
from schemas.operations import Channel, NotificationStatus
from schemas.partners import key_of
from schemas.providers import Mode, ProviderName
from schemas.text import Currency, Filter, PartnerId, RecipientFilter

_NAMES: Final = 2  # parts of a cursor of payments, subscriptions or invoices besides the time: the id and the provider


class StateQuery(Paged, frozen=True, kw_only=True):
    """Narrows a list of current state."""

    def list_query(self, now: datetime) -> ListQuery:
        """Return the requested page. Raises GatewayError `query_malformed`."""
        raise NotImplementedError


class _OfMoney(StateQuery, frozen=True, kw_only=True):
    """The filters of payments, subscriptions and invoices; their time is that of the last change."""

    provider: Annotated[ProviderName, Meta(description="Only those of this provider.")] | None = None
    customer: Annotated[Filter, Meta(description="Only those of the customer with this id of the provider.")] | None = None
    mode: Annotated[Mode, Meta(description="Only those whose events state this mode.")] | None = None
    account: Annotated[Filter, Meta(description="Only those of this account of the provider.")] | None = None

    def list_query(self, now: datetime) -> ListQuery:
        del now
        # The provider's clock may be ahead of ours, so without an end the period is unlimited.
        begin, end = self.period(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        values = _given(self, "status", "provider", "customer", "account", "user", "reconciliation", "subscription")
        if currency := getattr(self, "currency", None):
            values["currency"] = currency.lower()
        if self.mode is not None:
            values["livemode"] = self.mode == "live"
        return ListQuery(begin, end, self.limit, self._place(), values)

    def _place(self) -> Key | None:
        if self.cursor is None:
            return None
        at, *names = place_of(self.cursor)
        if len(names) != _NAMES:
            raise GatewayError(Reason.QUERY_MALFORMED, "cursor is not one that this list returned")
        return (at, *names)


class PaymentsQuery(_OfMoney, frozen=True, kw_only=True):
    """Narrows the payments: one is listed if it fits all that is given."""

    status: Annotated[PaymentStatus, Meta(description="Only payments in this state.")] | None = None
    currency: Annotated[Currency, Meta(description="Only payments in this currency, an ISO 4217 code.")] | None = None
    reconciliation: (
        Annotated[Reconciliation, Meta(description="Only payments that compare like this with their expectation.")] | None
    ) = None
    user: Annotated[Filter, Meta(description="Only payments of the user with this id of yours.")] | None = None


class SubscriptionsQuery(_OfMoney, frozen=True, kw_only=True):
    """Narrows the subscriptions: one is listed if it fits all that is given."""

    status: Annotated[Filter, Meta(description="Only subscriptions in this state, the provider's own word.")] | None = None


class InvoicesQuery(_OfMoney, frozen=True, kw_only=True):
    """Narrows the invoices: one is listed if it fits all that is given."""

    status: Annotated[InvoiceStatus, Meta(description="Only invoices in this state.")] | None = None
    currency: Annotated[Currency, Meta(description="Only invoices in this currency, an ISO 4217 code.")] | None = None
    subscription: (
        Annotated[Filter, Meta(description="Only invoices of the subscription with this id of the provider.")] | None
    ) = None


class _OfIds(StateQuery, frozen=True, kw_only=True):
    """A list in the order of its ids, which include the time of arrival."""

    def list_query(self, now: datetime) -> ListQuery:
        begin, end = self.period(EPOCH, up_to(now))
        last = None if self.last is None else (self.last,)
        return ListQuery(first_id_of(begin), first_id_of(end), self.limit, last, self._values())

    def _values(self) -> dict[str, Any]:
        return {}


class LeadsQuery(_OfIds, frozen=True, kw_only=True):
    """Narrows the leads: one is listed if it fits all that is given."""

    status: Annotated[LeadStatus, Meta(description="Only leads in this state.")] | None = None
    partner: Annotated[PartnerId, Meta(description="Only leads of the partner with this id.")] | None = None

    def _values(self) -> dict[str, Any]:
        return _given(self, "status") | ({"partner": key_of(self.partner)} if self.partner else {})


class NotificationsQuery(_OfIds, frozen=True, kw_only=True):
    """Narrows the notifications: one is listed if it fits all that is given."""

    status: Annotated[NotificationStatus, Meta(description="Only notifications in this state.")] | None = None
    channel: Annotated[Channel, Meta(description="Only notifications over this channel.")] | None = None
    template: Annotated[Filter, Meta(description="Only notifications of the template with this code.")] | None = None
    user: (
        Annotated[RecipientFilter, Meta(description="Only notifications to this user or address, as the command named it.")]
        | None
    ) = None

    def _values(self) -> dict[str, Any]:
        return _given(self, "status", "channel", "template", "user")


def cursor_after(last: Key | None) -> str | None:
    """Return the cursor of the page after the item `last`; None after the last page."""
    if last is None:
        return None
    first, *names = last
    return cursor_of(first) if isinstance(first, UUID) else place_cursor(first, *names)


def _given(query: Paged, *names: str) -> dict[str, Any]:
    values = {name: getattr(query, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}
