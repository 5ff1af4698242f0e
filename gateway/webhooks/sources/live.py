"""The sources that this gateway has secrets for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

from gateway.settings import GatewaySettings
from gateway.webhooks.leads import claim_key
from gateway.webhooks.sources import Headers, Source
from gateway.webhooks.sources.partner import NAME as PARTNER
from gateway.webhooks.sources.partner import partner_source
from gateway.webhooks.sources.razorpay import RAZORPAY
from gateway.webhooks.sources.stripe import stripe_source
from outbox.received import Received
from runtime.settings import Secret


class LiveSource(NamedTuple):
    """A source with its live secrets, newest first; `claim` may refuse what is understood, in the transaction that records it."""

    source: Source
    secrets: Sequence[Secret]
    claim: Callable[[AsyncConnection, Headers, Received], Awaitable[None]] | None = None


def live_sources(settings: GatewaySettings) -> Mapping[str, LiveSource]:
    """By name. Partners are always there: whom nobody knows is refused like whose signature is wrong."""
    partners = settings.partners
    of_partners = [secret for partner in partners.values() for secret in (*partner.secret, *partner.token)]
    stripe = stripe_source(asks=bool(settings.stripe_api_key))._replace(mode=settings.stripe_mode)
    providers = ((stripe, settings.stripe_webhook_secret), (RAZORPAY, settings.razorpay_webhook_secret))
    return {
        PARTNER: LiveSource(partner_source(partners), of_partners, claim_key),
        **{source.name: LiveSource(source, secrets) for source, secrets in providers if secrets},
    }
