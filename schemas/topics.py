"""Every topic with its number of partitions and its retention. Order holds per key, so partitions bound parallelism."""

from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.providers import NAMES, ProviderName


class Topic(StrEnum):
    """The names that `docs/contract.md` lists under "Events on Kafka"; each provider has `WEBHOOKS_<NAME>`, `webhooks.<name>`."""

    _ignore_ = "_name"
    for _name in NAMES:
        vars()[f"WEBHOOKS_{_name.upper()}"] = f"webhooks.{_name}"
    BILLING_PAYMENTS = "billing.payment.events"  #: Changes of payments, for all providers.
    BILLING_REFUNDS = "billing.refund.events"  #: Changes of refunds, for all providers.
    BILLING_DISPUTES = "billing.dispute.events"  #: Changes of disputes, for all providers.
    BILLING_SUBSCRIPTIONS = "billing.subscription.events"  #: Changes of subscriptions, for all providers.
    BILLING_INVOICES = "billing.invoice.events"  #: Changes of invoices, for all providers.
    PARTNER_LEADS = "lead.partner.events"  #: Leads of partners, and the outcome of each attempt to deliver them.
    PROPERTIES = "property.events"  #: Changes and deletions of documents in the index `properties`.
    CACHE_COMMANDS = "cache.commands"  #: Commands for the cache worker.
    NOTIFICATION_COMMANDS = "notification.commands"  #: Commands for the notifications worker.
    LEAD_COMMANDS = "lead.commands"  #: Commands for the leads worker.
    NOTIFICATIONS = "notification.events"  #: Outcomes of notifications.
    CONFIG = "config.events"  #: Changes of the runtime configuration.
    ALERTS = "alert.events"  #: Conditions that need the attention of an operator.
    DEAD_LETTERS = "dead-letters"  #: Records that a worker could not handle, with the reason.


def webhooks_of(provider: ProviderName) -> Topic:
    """The topic of a provider's events."""
    return Topic(f"webhooks.{provider}")


class TopicSpec(NamedTuple):
    """The required properties of a topic; `topics ensure` creates and checks them."""

    partitions: int
    retention: timedelta


_WEEK: Final = timedelta(days=7)
_MONTH: Final = timedelta(days=30)
# Commands and provider events are short-lived on Kafka: the outbox is their log. What others subscribe to stays longer.
TOPICS: Final[dict[Topic, TopicSpec]] = {
    **{webhooks_of(name): TopicSpec(8, _WEEK) for name in NAMES},
    Topic.BILLING_PAYMENTS: TopicSpec(8, _MONTH),
    Topic.BILLING_REFUNDS: TopicSpec(8, _MONTH),
    Topic.BILLING_DISPUTES: TopicSpec(4, _MONTH),
    Topic.BILLING_SUBSCRIPTIONS: TopicSpec(8, _MONTH),
    Topic.BILLING_INVOICES: TopicSpec(8, _MONTH),
    Topic.PARTNER_LEADS: TopicSpec(8, _MONTH),
    Topic.PROPERTIES: TopicSpec(8, _WEEK),
    Topic.CACHE_COMMANDS: TopicSpec(4, _WEEK),
    Topic.NOTIFICATION_COMMANDS: TopicSpec(4, _WEEK),
    Topic.LEAD_COMMANDS: TopicSpec(4, _WEEK),
    Topic.NOTIFICATIONS: TopicSpec(4, _MONTH),
    Topic.CONFIG: TopicSpec(1, _MONTH),
    Topic.ALERTS: TopicSpec(1, _MONTH),
    Topic.DEAD_LETTERS: TopicSpec(1, _MONTH),
}
