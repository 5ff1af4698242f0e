"""The sources that this gateway has secrets for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

from gateway.settings import GatewaySettings
from gateway.webhooks.leads import claim_key
from gateway.webhooks.sources import Headers, Source
from gateway.webhooks.sources.partner import NAME as PARTNER
from gateway.webhooks.sources.partner import partner_source
from outbox.append import Received
from projections.roster import Roster
from runtime.settings import Secret
from schemas.providers import providers


class LiveSource(NamedTuple):
    """
    A source with its live secrets, newest first; of partners none, since each has its own.

    `claim` may refuse a parsed delivery in the transaction that records it.
    """

    source: Source
    secrets: Sequence[Secret]
    claim: Callable[[AsyncConnection, Headers, Received], Awaitable[None]] | None = None


def live_sources(settings: GatewaySettings, partners: Roster) -> Mapping[str, LiveSource]:
    """
    The sources by name.

    Partners are always among them: a lead of an unknown partner is refused like one with a wrong signature.
    """
    found = {PARTNER: LiveSource(partner_source(partners), (), claim_key)}
    for provider in providers():
        if secrets := settings.webhook_secrets(provider):
            found[provider.name] = LiveSource(provider.part("gateway.webhooks.sources", "source")(settings), secrets)
    return found
